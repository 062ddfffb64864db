/* What the hooks are told of connections: under which client ids somebody has come, and under which nobody is any more.
 *
 * Of a client id it is one state, the last one, with its age. It is told a second later, so that what a device says of
 * its leaving is heard first, and who goes and comes at once has not gone. What does not arrive is told again. */
#ifndef PROVISIONING_PRESENCE_H
#define PROVISIONING_PRESENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct presence;

/* now: when the broker began; nobody who was connected before is. NULL: out of memory or of random bytes. */
struct presence *presence_new(int64_t now);
void presence_free(struct presence *presence);

/* false: out of memory, or too much is untold; this is not told. */
bool presence_note(struct presence *presence, const char *client_id, bool connected, int64_t now);

/* The body of a report, which is the caller's to free, where one is due, once a second at most; `presence_end` must
 * follow. NULL: none, or out of memory. */
char *presence_begin(struct presence *presence, int64_t now);

/* Whether it arrived. */
void presence_end(struct presence *presence, bool arrived);

/* How many client ids there is something to tell of. */
size_t presence_count(const struct presence *presence);

#endif
