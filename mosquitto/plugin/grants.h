/* What a client may do with which topics, and the decision (service/core/grants.py: decide_acl). */
#ifndef PROVISIONING_GRANTS_H
#define PROVISIONING_GRANTS_H

#include <stddef.h>

struct cJSON;
struct grants;

/* From [["<filter>", <accesses: 1 read, 2 write, 4 subscribe, added up>], ...]; an empty list grants nothing.
 * NULL: that is not what it is, or out of memory. */
struct grants *grants_from_json(const struct cJSON *list);
void grants_free(struct grants *grants);

/* NULL: one grant covers the question whole. Else why not, a constant text. */
const char *grants_refuse(const struct grants *grants, int acc, const char *topic);

/* Bytes that they take. */
size_t grants_size(const struct grants *grants);

#endif
