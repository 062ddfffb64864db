/* One question at a time to the hooks, on a thread of its own, so that the broker does not wait for the answer.
 *
 * The broker's thread hands over and collects; the courier's thread touches nothing of the broker. */
#ifndef PROVISIONING_COURIER_H
#define PROVISIONING_COURIER_H

#include <stdbool.h>
#include <stddef.h>

#include "http.h"
#include "options.h"

struct courier;

/* What came back; valid until the next question. */
struct delivery {
    const char *why; /* NULL: there is an answer; else a constant text */
    long status;
    const char *body;
    size_t length;
};

/* body_max: of the answers. NULL with the reason in *why. Its thread begins with the first question. */
struct courier *courier_new(const struct options *options, const char *secret, size_t body_max, char *why,
                            size_t why_size);

/* Gives up what is under way; takes up to a second. */
void courier_free(struct courier *courier);

/* The secret from the next question on; false: out of memory, and the old one stays. */
bool courier_set_secret(struct courier *courier, const char *secret);

bool courier_is_idle(const struct courier *courier);

/* Of an idle one. Takes the body over, which is malloc's. false: no thread to be had, and the body is freed. */
bool courier_send(struct courier *courier, enum http_route route, char *body);

/* Whether there is an answer, or the reason why there is none; then the courier is idle. Cheap where not. */
bool courier_collect(struct courier *courier, struct delivery *delivery);

#endif
