/* The clients that the hooks have let in, by the pointer under which Mosquitto knows them.
 *
 * There is one use for it: on SIGHUP Mosquitto asks again for every session, and asking the hooks for all of them at
 * once would freeze the broker, and would throw everybody out while the hooks are away.
 *
 * Pointers are reused as soon as a client is freed, and Mosquitto does not say when that is. So a pointer proves
 * nothing alone: an entry also holds a digest of the client id, username and password it was admitted with. */
#ifndef PROVISIONING_SESSIONS_H
#define PROVISIONING_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>

struct sessions;

struct identity {
    const char *client_id;
    const char *username;
    const char *password;
};

/* offline_limit: how many clients are remembered after their connection ended, the latest ones. Those that are
 * connected are all remembered; Mosquitto limits them by its descriptors. NULL: out of memory or of random bytes. */
struct sessions *sessions_new(size_t offline_limit);
void sessions_free(struct sessions *sessions);

/* Remembers the client as connected, in the place of whatever was known under its pointer; false: out of memory,
 * and nothing is known under that pointer. */
bool sessions_admit(struct sessions *sessions, const void *client, const struct identity *identity);

void sessions_forget(struct sessions *sessions, const void *client);

/* The connection ended; Mosquitto may keep the session and ask for it again. Unknown pointers are ignored. */
void sessions_set_offline(struct sessions *sessions, const void *client);

/* Whether exactly this client was admitted under this pointer. A part that is NULL matches nothing.
 * may_be_new: this could be a new connection that got the pointer of one that has ended. Then an entry proves
 * something only while its own connection lasts, because so long Mosquitto cannot give the pointer away. */
bool sessions_recognise(const struct sessions *sessions, const void *client, const struct identity *identity,
                        bool may_be_new);

size_t sessions_count(const struct sessions *sessions);

#endif
