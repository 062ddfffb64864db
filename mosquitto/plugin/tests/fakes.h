/* The broker and the HTTP client under the callbacks, as simple as can be. */
#ifndef PROVISIONING_FAKES_H
#define PROVISIONING_FAKES_H

#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stdbool.h>

#define FAKE_EVENTS 16

/* Mosquitto's own type is opaque to plugins; here it holds what a plugin can ask for. */
struct mosquitto {
    const char *id, *username, *address;
    int protocol;
    bool clean, websocket;
};

struct fake {
    MOSQ_FUNC_generic_callback callbacks[FAKE_EVENTS]; /* by event */
    void *user_data[FAKE_EVENTS];
    int refused_event; /* registering this one fails; 0: none does */
    long status;       /* what the hooks answer; 0: nothing */
    const char *body;
    int questions;
    char last_path[32];
    char last_question[1024];
    char secret[64];
    bool no_http;     /* http_new fails */
    bool keep_secret; /* http_set_secret fails */
    /* Couriers: 0 listens, 1 runs errands. */
    struct {
        bool out;       /* a question is under way */
        bool back;      /* `status` and `body` are its answer */
        int route;
        char sent[4096];
        long status;
        const char *body;
        int questions;
    } couriers[2];
    char kicked[256]; /* client ids, each with a space behind it */
    void (*on_kick)(void); /* what the broker calls before a kick returns */
    char log[4096];
};

extern struct fake fake;

#endif
