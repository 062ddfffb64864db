/* The clients that the hooks have let in, by the pointer under which Mosquitto knows them, with what they may do.
 *
 * Pointers are reused as soon as a client is freed, and Mosquitto does not say when that is. So a pointer proves
 * nothing alone: an entry also holds the client id and username it was admitted with, and a digest of these and the
 * password. */
#ifndef PROVISIONING_SESSIONS_H
#define PROVISIONING_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grants.h"

struct sessions;

struct identity {
    const char *client_id;
    const char *username;
    const char *password;
};

/* What is known of a client's rights. */
enum standing {
    STANDING_UNKNOWN, /* not admitted here, or nothing was told: ask */
    STANDING_GRANTED, /* as its grants say */
    STANDING_STALE,   /* something about it changed: ask until its grants are there anew */
    STANDING_REVOKED  /* it may do nothing, until it logs in again */
};

/* A client whose grants are wanted anew; names live until the table changes. */
struct ticket {
    const void *client;
    uint64_t generation;
    const char *client_id, *username;
};

/* offline_limit: how many clients are remembered after their connection ended, the latest ones, at least 1. Those that are
 * connected are all remembered; Mosquitto limits them by its descriptors. NULL: out of memory or of random bytes. */
struct sessions *sessions_new(size_t offline_limit);
void sessions_free(struct sessions *sessions);

/* Remembers the client as connected, in the place of whatever was known under its pointer, and takes over the grants
 * (NULL: none were told). false: out of memory, nothing is known under that pointer, and the grants are freed. */
bool sessions_admit(struct sessions *sessions, const void *client, const struct identity *identity,
                    struct grants *grants);

void sessions_forget(struct sessions *sessions, const void *client);

/* The connection ended; Mosquitto may keep the session and ask for it again. Unknown pointers are ignored. Returns the
 * client id, valid until the table changes, if nobody is connected under it any more; else NULL, as after a takeover. */
const char *sessions_set_offline(struct sessions *sessions, const void *client);

/* Whether somebody who may be here is connected under a client id: admitted, not revoked, and none of our services,
 * whose names begin with a tilde. */
bool sessions_is_in_use(const struct sessions *sessions, const char *client_id);

/* Whether exactly this client was admitted under this pointer, and not revoked since. A part that is NULL matches
 * nothing. may_be_new: this could be a new connection that got the pointer of one that has ended. Then an entry proves
 * something only while its own connection lasts, because so long Mosquitto cannot give the pointer away. */
bool sessions_recognise(const struct sessions *sessions, const void *client, const struct identity *identity,
                        bool may_be_new);

/* Where the client stands, by pointer, client id and username; *grants is set where it has some. */
enum standing sessions_standing(const struct sessions *sessions, const void *client, const char *client_id,
                                const char *username, const struct grants **grants);

/* Something changed: these are stale from now on, and wanted anew. Those that were told nothing stay as they are. */
void sessions_doubt_client_id(struct sessions *sessions, const char *client_id);
void sessions_doubt_username(struct sessions *sessions, const char *username);
void sessions_doubt(struct sessions *sessions, const void *client);
void sessions_doubt_all(struct sessions *sessions);

/* Whether any client is wanted anew. */
bool sessions_want_any(const struct sessions *sessions);

/* The next client that is wanted anew, which is not any longer; false: nobody. */
bool sessions_next_wanted(struct sessions *sessions, struct ticket *ticket);

/* Nothing was learnt for a ticket: it is wanted again, if it still is of this generation. */
void sessions_want_again(struct sessions *sessions, const void *client, uint64_t generation);

/* What was learnt for a ticket: its grants, which are taken over, or NULL: it may not be here. Without effect where it
 * changed meanwhile. Returns the client id of one that is connected and was revoked by this, else NULL. */
const char *sessions_renew(struct sessions *sessions, const void *client, uint64_t generation, struct grants *grants);

/* The client published; it is among the active ones until it was the next of them. */
void sessions_note_active(struct sessions *sessions, const void *client);
bool sessions_next_active(struct sessions *sessions, struct ticket *ticket);

size_t sessions_count(const struct sessions *sessions);

#endif
