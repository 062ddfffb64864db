/* A kept-alive HTTP connection to the hooks; one thread at a time uses it. */
#ifndef PROVISIONING_HTTP_H
#define PROVISIONING_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "options.h"

enum http_route {
    HTTP_ROUTE_USER,
    HTTP_ROUTE_ACL,
    HTTP_ROUTE_SUPERUSER,
    HTTP_ROUTE_CHANGES, /* a GET; the body is the position to go on from */
    HTTP_ROUTE_CLIENTS,
    HTTP_ROUTE_REPORTS
};

struct http;

struct http_reply {
    long status;
    const char *body; /* valid until the next question */
    size_t length;
};

/* body_max: of the answers. NULL with the reason in *why. No question is asked yet. */
struct http *http_new(const struct options *options, const char *secret, size_t body_max, char *why, size_t why_size);
void http_free(struct http *http);

/* The secret from now on; false: out of memory, and the old one stays. */
bool http_set_secret(struct http *http, const char *secret);

/* A question that is under way when this becomes true is given up, within a second. */
bool http_stop_when(struct http *http, atomic_bool *stop);

/* Asks and waits, at most timeout_ms. NULL and the reply, or the reason, a constant text, why there is none. */
const char *http_ask(struct http *http, enum http_route route, const char *body, size_t length,
                     struct http_reply *reply);

#endif
