#include "courier.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secret.h"

/* Only the broker's thread moves it from IDLE and BACK, only the courier's from OUT. */
enum state { IDLE, OUT, BACK };

struct courier {
    struct http *http;
    pthread_t thread;
    bool started;
    atomic_bool stop;
    atomic_int state;
    pthread_mutex_t lock; /* of `secret`, and of the waiting for OUT */
    pthread_cond_t wake;
    char *secret; /* a new one, until it is used */
    enum http_route route;
    char *body;
    struct delivery delivery;
};

struct courier *courier_new(const struct options *options, const char *secret, size_t body_max, char *why,
                            size_t why_size)
{
    struct courier *courier = calloc(1, sizeof *courier);

    if (courier == NULL) {
        (void)snprintf(why, why_size, "out of memory");
        return NULL;
    }
    courier->http = http_new(options, secret, body_max, why, why_size);
    if (courier->http == NULL || !http_stop_when(courier->http, &courier->stop)
        || pthread_mutex_init(&courier->lock, NULL) != 0) {
        http_free(courier->http);
        free(courier);
        return NULL;
    }
    if (pthread_cond_init(&courier->wake, NULL) != 0) {
        (void)pthread_mutex_destroy(&courier->lock);
        http_free(courier->http);
        free(courier);
        return NULL;
    }
    return courier;
}

/* POSIX: locking a normal mutex that this thread does not hold does not fail; to go on unlocked would be worse. */
static void lock(struct courier *courier)
{
    if (pthread_mutex_lock(&courier->lock) != 0) abort();
}

static void unlock(struct courier *courier)
{
    if (pthread_mutex_unlock(&courier->lock) != 0) abort();
}

/* false: to stop. */
static bool wait_for_question(struct courier *courier, char **secret)
{
    bool go_on;

    lock(courier);
    while (!atomic_load(&courier->stop) && atomic_load(&courier->state) != OUT) {
        if (pthread_cond_wait(&courier->wake, &courier->lock) != 0) abort();
    }
    go_on = !atomic_load(&courier->stop);
    *secret = courier->secret;
    courier->secret = NULL;
    unlock(courier);
    return go_on;
}

static void *work(void *data)
{
    struct courier *courier = data;
    char *secret = NULL;

    while (wait_for_question(courier, &secret)) {
        struct http_reply reply = {0};
        bool ready = true;

        if (secret != NULL) ready = http_set_secret(courier->http, secret);
        secret_free(secret);
        courier->delivery = (struct delivery){.why = "out of memory"};
        if (ready) {
            courier->delivery.why =
                http_ask(courier->http, courier->route, courier->body, strlen(courier->body), &reply);
        }
        courier->delivery.status = reply.status;
        courier->delivery.body = reply.body;
        courier->delivery.length = reply.length;
        atomic_store(&courier->state, BACK);
    }
    secret_free(secret);
    return NULL;
}

/* Signals are the broker's: its thread is the one that waits for them. */
static bool start(struct courier *courier)
{
    sigset_t all, before;

    if (courier->started) return true;
    if (sigfillset(&all) != 0 || pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return false;
    courier->started = pthread_create(&courier->thread, NULL, work, courier) == 0;
    if (pthread_sigmask(SIG_SETMASK, &before, NULL) != 0) abort();
    return courier->started;
}

void courier_free(struct courier *courier)
{
    if (courier == NULL) return;
    lock(courier);
    atomic_store(&courier->stop, true);
    (void)pthread_cond_signal(&courier->wake);
    unlock(courier);
    if (courier->started) (void)pthread_join(courier->thread, NULL);
    (void)pthread_cond_destroy(&courier->wake);
    (void)pthread_mutex_destroy(&courier->lock);
    http_free(courier->http);
    secret_free(courier->secret);
    free(courier->body);
    free(courier);
}

bool courier_set_secret(struct courier *courier, const char *secret)
{
    char *copy = strdup(secret);

    if (copy == NULL) return false;
    lock(courier);
    secret_free(courier->secret);
    courier->secret = copy;
    unlock(courier);
    return true;
}

bool courier_is_idle(const struct courier *courier)
{
    return atomic_load(&courier->state) == IDLE;
}

bool courier_send(struct courier *courier, enum http_route route, char *body)
{
    free(courier->body);
    courier->body = body;
    courier->route = route;
    if (!start(courier)) return false;
    lock(courier);
    atomic_store(&courier->state, OUT);
    (void)pthread_cond_signal(&courier->wake);
    unlock(courier);
    return true;
}

bool courier_collect(struct courier *courier, struct delivery *delivery)
{
    if (atomic_load(&courier->state) != BACK) return false;
    *delivery = courier->delivery;
    atomic_store(&courier->state, IDLE);
    return true;
}
