/* What an answer of the hooks means. */
#ifndef PROVISIONING_ANSWER_H
#define PROVISIONING_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grants.h"

enum verdict {
    VERDICT_ERROR = 0, /* no verdict was given: nobody is let in, and nobody is told that he is refused */
    VERDICT_DENIED,
    VERDICT_ALLOWED
};

/* For VERDICT_ERROR *why is set to the reason, a constant text. */
enum verdict answer_verdict(long status, const char *body, size_t length, const char **why);

/* The whole answer where it is 200 and says {"ok": true, ...}, for cJSON_Delete; else NULL, and *why. */
struct cJSON *answer_document(long status, const char *body, size_t length, const char **why);

/* The grants in the answer to a login, and the feed's position that they were read at; NULL: none are told. */
struct grants *answer_grants(const struct cJSON *document, uint64_t *as_of);

/* A number in a text, as JSON has none of 64 bits; false: it is none. */
bool answer_number(const struct cJSON *text, uint64_t *number);

#endif
