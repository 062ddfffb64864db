#include "reports.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

/* A kind is told when it comes up, and then once a minute with its count. */
#define AGAIN_MS 60000
#define EVERY_MS 1000
#define KINDS 256
#define TOPIC_MAX 512 /* bytes; the hooks keep no more */
#define KIND_SIZE 120 /* of a kind in the body without its names and its topic, at most */

struct kind {
    char *client_id, *username, *topic;
    int acc;
    const char *reason;
    uint64_t count, telling; /* since it was told; in the report under way */
    int64_t due;
};

struct reports {
    struct kind kinds[KINDS];
    size_t count;
    int64_t due;
};

struct reports *reports_new(void)
{
    return calloc(1, sizeof(struct reports));
}

static void kind_free(struct kind *kind)
{
    free(kind->client_id);
    free(kind->username);
    free(kind->topic);
    *kind = (struct kind){0};
}

void reports_free(struct reports *reports)
{
    if (reports == NULL) return;
    for (size_t i = 0; i < reports->count; i++) kind_free(&reports->kinds[i]);
    free(reports);
}

static bool is_of_kind(const struct kind *kind, const struct refusal *refusal)
{
    return kind->acc == refusal->acc && strcmp(kind->reason, refusal->reason) == 0
        && strcmp(kind->client_id, refusal->client_id) == 0 && strcmp(kind->username, refusal->username) == 0;
}

/* A topic may be cut in the midst of a character of UTF-8, which no JSON could hold: back to its start. */
static size_t length_to_keep(const char *topic)
{
    size_t length = strnlen(topic, TOPIC_MAX);

    while (length == TOPIC_MAX && length > 0 && ((unsigned char)topic[length] & 0xc0) == 0x80) length--;
    return length;
}

static void remember(struct reports *reports, const struct refusal *refusal, int64_t now)
{
    struct kind *kind = &reports->kinds[reports->count];

    *kind = (struct kind){
        .client_id = strdup(refusal->client_id),
        .username = strdup(refusal->username),
        .topic = strndup(refusal->topic, length_to_keep(refusal->topic)),
        .acc = refusal->acc,
        .reason = refusal->reason,
        .count = 1,
        .due = now,
    };
    if (kind->client_id == NULL || kind->username == NULL || kind->topic == NULL) kind_free(kind);
    else reports->count++;
}

/* Those of whom nothing is left to tell for a minute give way. */
static void forget_told(struct reports *reports, int64_t now)
{
    size_t kept = 0;

    for (size_t i = 0; i < reports->count; i++) {
        struct kind *kind = &reports->kinds[i];

        if (kind->count == 0 && kind->telling == 0 && now >= kind->due) kind_free(kind);
        else reports->kinds[kept++] = *kind;
    }
    reports->count = kept;
}

void reports_note_refused(struct reports *reports, const struct refusal *refusal, int64_t now)
{
    for (size_t i = 0; i < reports->count; i++) {
        if (!is_of_kind(&reports->kinds[i], refusal)) continue;
        reports->kinds[i].count++;
        return;
    }
    if (reports->count == KINDS) forget_told(reports, now);
    if (reports->count < KINDS) remember(reports, refusal, now);
}

static bool add_text(cJSON *object, const char *name, const char *text)
{
    return cJSON_AddStringToObject(object, name, text) != NULL;
}

static bool add_kind(cJSON *list, const struct kind *kind)
{
    cJSON *refused = cJSON_CreateObject();

    if (refused != NULL && add_text(refused, "username", kind->username)
        && add_text(refused, "clientid", kind->client_id) && add_text(refused, "topic", kind->topic)
        && cJSON_AddNumberToObject(refused, "acc", kind->acc) != NULL && add_text(refused, "reason", kind->reason)
        && cJSON_AddNumberToObject(refused, "count", (double)kind->telling) != NULL
        && cJSON_AddItemToArray(list, refused)) {
        return true;
    }
    cJSON_Delete(refused);
    return false;
}

/* What a kind takes of the body, at most: Mosquitto lets no control characters in, and every other escape is of two. */
static size_t size_of(const struct kind *kind)
{
    return KIND_SIZE + 2 * (strlen(kind->client_id) + strlen(kind->username) + strlen(kind->topic));
}

/* Moves the counts of those that are due, as many as fit, into the report; false: nothing is due, or out of memory. */
static bool fill(struct reports *reports, cJSON *list, int64_t now)
{
    size_t size = KIND_SIZE;
    bool any = false;

    for (size_t i = 0; i < reports->count; i++) {
        struct kind *kind = &reports->kinds[i];

        if (kind->count == 0 || now < kind->due) continue;
        size += size_of(kind);
        if (size > REPORT_MAX && any) break;
        kind->telling = kind->count;
        kind->count = 0;
        kind->due = now + AGAIN_MS;
        any = true;
        if (!add_kind(list, kind)) return false;
    }
    return any;
}

char *reports_begin(struct reports *reports, int64_t now)
{
    cJSON *body, *list;
    char *text = NULL;

    if (now < reports->due || reports->count == 0) return NULL;
    reports->due = now + EVERY_MS;
    body = cJSON_CreateObject();
    list = cJSON_AddArrayToObject(body, "refused");
    if (list != NULL && fill(reports, list, now)) text = cJSON_PrintUnformatted(body);
    cJSON_Delete(body);
    if (text == NULL) reports_end(reports, false);
    return text;
}

void reports_end(struct reports *reports, bool arrived)
{
    for (size_t i = 0; i < reports->count; i++) {
        struct kind *kind = &reports->kinds[i];

        if (!arrived && kind->telling > 0) {
            kind->count += kind->telling;
            kind->due = 0;
        }
        kind->telling = 0;
    }
}
