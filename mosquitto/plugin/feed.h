/* Follows the hooks' feed of changes, and keeps the clients' grants as they are now.
 *
 * All of it runs on the broker's thread; only its questions travel on others. What it finds out is applied between two
 * events of the broker: a change makes the grants of whom it concerns stale at once, they are fetched anew, and who lost
 * the right to be here is revoked. */
#ifndef PROVISIONING_FEED_H
#define PROVISIONING_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"
#include "sessions.h"

struct feed;

/* The sessions are the caller's and outlive the feed. now: the broker began. NULL with the reason in *why. Nothing is
 * asked yet. */
struct feed *feed_new(const struct options *options, struct sessions *sessions, int64_t now, char *why, size_t why_size);

/* Takes up to two seconds, for questions that are under way. */
void feed_free(struct feed *feed);

/* Reads the secret again for the questions to come; if that fails the old one stays. */
void feed_read_secret(struct feed *feed, const char *path);

/* Applies what has arrived; cheap where nothing has. Times are milliseconds of one monotonic clock. */
void feed_hear(struct feed *feed, int64_t now);

/* Asks what is to be asked. Not from within an event of a client. */
void feed_ask(struct feed *feed, int64_t now);

/* The next client id to kick, which is the caller's to free; NULL: nobody. */
char *feed_next_revoked(struct feed *feed);

/* Of a login just admitted, whose grants were read at this position: the feed may have told of a change since. */
void feed_check_login(struct feed *feed, const void *client, const char *client_id, const char *username,
                      uint64_t as_of);

/* Whether the feed was heard within the last two seconds: then what is granted still is. */
bool feed_is_heard(const struct feed *feed, int64_t now);

/* For the log: why the last question of the feed had no answer, once each time; NULL: nothing new. */
const char *feed_trouble(struct feed *feed);

/* Somebody has come under a client id, or nobody is connected under it any more: to be reported. */
void feed_note_connection(struct feed *feed, const char *client_id, bool connected, int64_t now);

/* A topic that was refused here, to be reported with others: the first of its kind in each minute is. */
void feed_note_refused(struct feed *feed, const char *client_id, const char *username, const char *topic, int acc,
                       const char *reason, int64_t now);

#endif
