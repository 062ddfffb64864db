#include "feed.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "courier.h"
#include "presence.h"
#include "recent.h"
#include "reports.h"
#include "secret.h"

#define SILENCE_MS 2000
#define RETRY_MS 250
#define WAIT_MS 1000 /* the hooks keep a question for changes so long */
#define NEVER INT64_MIN

#define CHANGES_MAX (1024 * 1024) /* bytes; the hooks tell of 10,000 changes at most */
#define CLIENTS_MAX (256 * 1024)
#define BATCH 32
#define SEEN_EVERY_MS 10000
#define SEEN_MAX 500
#define SEEN_SIZE 40 /* of one in the body without its names, at most */

/* What the errand under way carries. */
enum errand { NOTHING, CLIENTS, REFUSALS, SEEN, CONNECTIONS };

struct wanted {
    const void *client;
    uint64_t generation;
};

struct revoked {
    char *client_id;
    struct revoked *next;
};

struct feed {
    struct sessions *sessions;
    struct courier *listener, *errand;
    struct reports *reports;
    struct presence *presence;
    char *broker;
    char *position; /* NULL: not followed yet */
    struct recent recent;
    int64_t heard_at, listen_at, errand_at, seen_at; /* the last three: not before */
    enum errand carries, carried; /* now, and last */
    struct wanted batch[BATCH]; /* CLIENTS */
    size_t batch_count, batch_limit;
    struct revoked *revoked;
    const char *trouble;
};

static bool open_couriers(struct feed *feed, const struct options *options, const char *secret, char *why,
                          size_t why_size)
{
    struct options patient = *options;

    patient.timeout_ms += WAIT_MS;
    feed->listener = courier_new(&patient, secret, CHANGES_MAX, why, why_size);
    if (feed->listener == NULL) return false;
    feed->errand = courier_new(options, secret, CLIENTS_MAX, why, why_size);
    return feed->errand != NULL;
}

struct feed *feed_new(const struct options *options, struct sessions *sessions, int64_t now, char *why, size_t why_size)
{
    char *secret = secret_read(options->secret_file, why, why_size);
    struct feed *feed;
    bool good = false;

    if (secret == NULL) return NULL;
    feed = calloc(1, sizeof *feed);
    if (feed != NULL) {
        *feed = (struct feed){
            .sessions = sessions, .heard_at = NEVER, .listen_at = NEVER, .errand_at = NEVER,
            .seen_at = NEVER, .batch_limit = BATCH};
        feed->broker = strdup(options->broker);
        feed->reports = reports_new();
        feed->presence = presence_new(now);
        good = feed->broker != NULL && feed->reports != NULL && feed->presence != NULL
            && open_couriers(feed, options, secret, why, why_size);
    }
    secret_free(secret);
    if (good) return feed;
    feed_free(feed);
    return NULL;
}

void feed_free(struct feed *feed)
{
    char *client_id;

    if (feed == NULL) return;
    courier_free(feed->listener);
    courier_free(feed->errand);
    while ((client_id = feed_next_revoked(feed)) != NULL) free(client_id);
    reports_free(feed->reports);
    presence_free(feed->presence);
    free(feed->position);
    free(feed->broker);
    free(feed);
}

void feed_read_secret(struct feed *feed, const char *path)
{
    char why[256];
    char *secret = secret_read(path, why, sizeof why);

    if (secret == NULL) return; /* the log has said so, of the secret for questions */
    if (!courier_set_secret(feed->listener, secret) || !courier_set_secret(feed->errand, secret)) {
        feed->trouble = "out of memory; the old secret stays in use";
    }
    secret_free(secret);
}

static void doubt_all(struct feed *feed, uint64_t as_of)
{
    recent_note(&feed->recent, as_of, NULL);
    sessions_doubt_all(feed->sessions);
}

static void apply_change(struct feed *feed, const cJSON *change, uint64_t as_of)
{
    const cJSON *kind = cJSON_GetArrayItem(change, 0);
    const cJSON *key = cJSON_GetArrayItem(change, 1);

    if (!cJSON_IsString(kind) || !cJSON_IsString(key)) {
        doubt_all(feed, as_of);
    } else if (strcmp(kind->valuestring, "user") == 0) {
        recent_note(&feed->recent, as_of, key->valuestring);
        sessions_doubt_username(feed->sessions, key->valuestring);
    } else if (strcmp(kind->valuestring, "client") == 0) {
        recent_note(&feed->recent, as_of, key->valuestring);
        sessions_doubt_client_id(feed->sessions, key->valuestring);
    } else if (strcmp(kind->valuestring, "broker") != 0 || strcmp(key->valuestring, feed->broker) == 0) {
        doubt_all(feed, as_of); /* an account, rarely; or of a kind that is not known here */
    }
}

/* Changes are counted from the first position: whoever came before it may have missed one. */
static bool apply_changes(struct feed *feed, const cJSON *document)
{
    const cJSON *position = cJSON_GetObjectItemCaseSensitive(document, "position");
    const cJSON *changes = cJSON_GetObjectItemCaseSensitive(document, "changes");
    const cJSON *change;
    char *copy;
    uint64_t as_of;

    if (!cJSON_IsString(position) || !cJSON_IsArray(changes)
        || !answer_number(cJSON_GetObjectItemCaseSensitive(document, "as_of"), &as_of)) {
        return false;
    }
    copy = strdup(position->valuestring);
    if (copy == NULL) return false;
    cJSON_ArrayForEach(change, changes) apply_change(feed, change, as_of);
    if (feed->position == NULL || !cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(document, "lost"))) {
        doubt_all(feed, as_of);
    }
    free(feed->position);
    feed->position = copy;
    return true;
}

static void hear_changes(struct feed *feed, int64_t now)
{
    struct delivery delivery;
    const char *why;
    cJSON *document = NULL;

    if (!courier_collect(feed->listener, &delivery)) return;
    why = delivery.why;
    if (why == NULL) document = answer_document(delivery.status, delivery.body, delivery.length, &why);
    if (document != NULL && apply_changes(feed, document)) {
        feed->heard_at = now;
    } else {
        feed->trouble = why != NULL ? why : "the feed's answer is not understood";
        feed->listen_at = now + RETRY_MS;
    }
    cJSON_Delete(document);
}

static void note_revoked(struct feed *feed, const char *client_id)
{
    struct revoked *revoked = malloc(sizeof *revoked);
    char *copy = strdup(client_id);

    if (revoked == NULL || copy == NULL) {
        /* It stays connected, and may do nothing. */
        feed->trouble = "out of memory; a client that was revoked is not kicked";
        free(revoked);
        free(copy);
        return;
    }
    *revoked = (struct revoked){copy, feed->revoked};
    feed->revoked = revoked;
}

char *feed_next_revoked(struct feed *feed)
{
    struct revoked *first = feed->revoked;
    char *client_id;

    if (first == NULL) return NULL;
    client_id = first->client_id;
    feed->revoked = first->next;
    free(first);
    return client_id;
}

static void want_batch_again(struct feed *feed)
{
    for (size_t i = 0; i < feed->batch_count; i++) {
        sessions_want_again(feed->sessions, feed->batch[i].client, feed->batch[i].generation);
    }
}

/* One client's rights as they are now. */
static void renew(struct feed *feed, const struct wanted *wanted, const cJSON *told)
{
    const cJSON *ok = cJSON_GetObjectItemCaseSensitive(told, "ok");
    struct grants *grants = NULL;
    const char *revoked;
    uint64_t as_of;

    if (cJSON_IsTrue(ok)) grants = answer_grants(told, &as_of);
    if (grants == NULL && !cJSON_IsFalse(ok)) {
        sessions_want_again(feed->sessions, wanted->client, wanted->generation);
        return;
    }
    revoked = sessions_renew(feed->sessions, wanted->client, wanted->generation, grants);
    if (revoked != NULL) note_revoked(feed, revoked);
}

/* false: not understood, and nothing was learnt. */
static bool renew_all(struct feed *feed, const cJSON *document)
{
    const cJSON *clients = cJSON_GetObjectItemCaseSensitive(document, "clients");
    const cJSON *told;
    size_t i = 0;

    if (!cJSON_IsArray(clients) || (size_t)cJSON_GetArraySize(clients) != feed->batch_count) return false;
    cJSON_ArrayForEach(told, clients) renew(feed, &feed->batch[i++], told);
    return true;
}

/* A batch whose answer does not fit, or that fails for one of its clients, is asked one by one. */
static void end_batch(struct feed *feed, bool good)
{
    if (!good) want_batch_again(feed);
    feed->batch_limit = good ? BATCH : 1;
    feed->batch_count = 0;
}

static void hear_errand(struct feed *feed, int64_t now)
{
    struct delivery delivery;
    const char *why;
    cJSON *document = NULL;
    bool good;

    if (!courier_collect(feed->errand, &delivery)) return;
    why = delivery.why;
    if (why == NULL) document = answer_document(delivery.status, delivery.body, delivery.length, &why);
    good = document != NULL && (feed->carries != CLIENTS || renew_all(feed, document));
    cJSON_Delete(document);
    if (feed->carries == CLIENTS) end_batch(feed, good);
    if (feed->carries == REFUSALS) reports_end(feed->reports, good);
    if (feed->carries == CONNECTIONS) presence_end(feed->presence, good);
    feed->carried = feed->carries;
    feed->carries = NOTHING;
    if (good) return;
    feed->trouble = why != NULL ? why : "the answer about clients is not understood";
    feed->errand_at = now + RETRY_MS;
}

void feed_hear(struct feed *feed, int64_t now)
{
    hear_changes(feed, now);
    hear_errand(feed, now);
}

static void ask_for_changes(struct feed *feed, int64_t now)
{
    char *position;

    if (!courier_is_idle(feed->listener) || now < feed->listen_at) return;
    position = strdup(feed->position != NULL ? feed->position : "");
    if (position != NULL && courier_send(feed->listener, HTTP_ROUTE_CHANGES, position)) return;
    feed->trouble = "out of memory, or of threads";
    feed->listen_at = now + RETRY_MS;
}

static bool add_client(cJSON *list, const struct ticket *ticket)
{
    cJSON *client = cJSON_CreateObject();

    if (client != NULL && cJSON_AddStringToObject(client, "username", ticket->username) != NULL
        && cJSON_AddStringToObject(client, "clientid", ticket->client_id) != NULL
        && cJSON_AddItemToArray(list, client)) {
        return true;
    }
    cJSON_Delete(client);
    return false;
}

/* The next clients that are wanted, and the question for them. NULL: nobody, or out of memory. */
static char *next_batch(struct feed *feed)
{
    cJSON *body = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(body, "clients");
    struct ticket ticket;
    bool good = list != NULL;
    char *text = NULL;

    while (good && feed->batch_count < feed->batch_limit && sessions_next_wanted(feed->sessions, &ticket)) {
        feed->batch[feed->batch_count++] = (struct wanted){ticket.client, ticket.generation};
        good = add_client(list, &ticket);
    }
    if (good && feed->batch_count > 0) text = cJSON_PrintUnformatted(body);
    cJSON_Delete(body);
    return text;
}

static bool send_errand(struct feed *feed, enum errand carries, char *body, int64_t now)
{
    const enum http_route route = carries == CLIENTS ? HTTP_ROUTE_CLIENTS : HTTP_ROUTE_REPORTS;

    if (courier_send(feed->errand, route, body)) {
        feed->carries = carries;
        return true;
    }
    feed->errand_at = now + RETRY_MS;
    feed->trouble = "out of memory, or of threads";
    return false;
}

static void ask_for_clients(struct feed *feed, int64_t now)
{
    char *body;

    if (!sessions_want_any(feed->sessions)) return; /* as in nearly every TICK, of which each publish brings one */
    body = next_batch(feed);
    if (feed->batch_count == 0) return;
    if (body != NULL && send_errand(feed, CLIENTS, body, now)) return;
    want_batch_again(feed);
    feed->batch_count = 0;
    feed->errand_at = now + RETRY_MS;
    feed->trouble = "out of memory, or of threads";
}

static void send_connections(struct feed *feed, int64_t now)
{
    char *body = presence_begin(feed->presence, now);

    if (body != NULL && !send_errand(feed, CONNECTIONS, body, now)) presence_end(feed->presence, false);
}

static void send_reports(struct feed *feed, int64_t now)
{
    char *body = reports_begin(feed->reports, now);

    if (body != NULL && !send_errand(feed, REFUSALS, body, now)) reports_end(feed->reports, false);
}

static char *next_seen(struct feed *feed)
{
    cJSON *body = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(body, "seen");
    struct ticket ticket;
    size_t count = 0, size = 0;
    char *text = NULL;

    while (list != NULL && count < SEEN_MAX && size < REPORT_MAX && sessions_next_active(feed->sessions, &ticket)) {
        if (add_client(list, &ticket)) count++;
        size += SEEN_SIZE + 2 * (strlen(ticket.username) + strlen(ticket.client_id));
    }
    if (count > 0) text = cJSON_PrintUnformatted(body);
    cJSON_Delete(body);
    return text;
}

/* Who published; a report that is lost is made up for by the next one. */
static void send_seen(struct feed *feed, int64_t now)
{
    char *body;

    if (now < feed->seen_at) return;
    body = next_seen(feed);
    if (body == NULL) feed->seen_at = now + SEEN_EVERY_MS;
    else (void)send_errand(feed, SEEN, body, now);
}

static bool is_free(const struct feed *feed, int64_t now)
{
    return courier_is_idle(feed->errand) && now >= feed->errand_at;
}

/* Grants come first, but not twice in a row: where they cannot be had, the rest is told all the same. */
void feed_ask(struct feed *feed, int64_t now)
{
    ask_for_changes(feed, now);
    if (is_free(feed, now) && feed->carried != CLIENTS) ask_for_clients(feed, now);
    if (is_free(feed, now)) send_connections(feed, now);
    if (is_free(feed, now)) send_reports(feed, now);
    if (is_free(feed, now)) send_seen(feed, now);
    if (is_free(feed, now)) ask_for_clients(feed, now);
}

void feed_check_login(struct feed *feed, const void *client, const char *client_id, const char *username,
                      uint64_t as_of)
{
    if (feed->position == NULL || recent_may_concern(&feed->recent, as_of, client_id, username)) {
        sessions_doubt(feed->sessions, client);
    }
}

bool feed_is_heard(const struct feed *feed, int64_t now)
{
    return feed->heard_at != NEVER && now - feed->heard_at < SILENCE_MS;
}

const char *feed_trouble(struct feed *feed)
{
    const char *trouble = feed->trouble;

    feed->trouble = NULL;
    return trouble;
}

void feed_note_refused(struct feed *feed, const char *client_id, const char *username, const char *topic, int acc,
                       const char *reason, int64_t now)
{
    reports_note_refused(feed->reports, &(struct refusal){client_id, username, topic, acc, reason}, now);
}

void feed_note_connection(struct feed *feed, const char *client_id, bool connected, int64_t now)
{
    if (presence_note(feed->presence, client_id, connected, now)) return;
    feed->trouble = "a connection that came or ended is not told: out of memory, or too many are untold";
}
