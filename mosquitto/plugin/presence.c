#include "presence.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "reports.h"
#include "tag.h"

#define EVERY_MS 1000
#define DELAY_MS 1000
#define ROWS 1000
#define ROW_SIZE 80 /* of a row of the body without its client id, at most */
#define UNTOLD_MAX 200000
#define BUCKETS 16384 /* a power of two */

/* Something to tell of a client id. */
struct row {
    struct row *next;          /* in its bucket */
    struct row *before, *after; /* by the time it is due */
    int64_t at, due;
    uint32_t hash;
    bool connected;
    bool telling; /* it is in the report under way, and has not changed since */
    char client_id[];
};

struct presence {
    struct tag_key key;
    struct row *buckets[BUCKETS];
    struct row *first, *last;
    size_t count;
    int64_t began, due;
    bool began_told, began_telling;
};

struct presence *presence_new(int64_t now)
{
    struct presence *presence = calloc(1, sizeof *presence);

    if (presence == NULL) return NULL;
    if (!tag_key_new(&presence->key)) {
        free(presence);
        return NULL;
    }
    presence->began = now;
    presence->due = now;
    return presence;
}

void presence_free(struct presence *presence)
{
    struct row *row;

    if (presence == NULL) return;
    while ((row = presence->first) != NULL) {
        presence->first = row->after;
        free(row);
    }
    free(presence);
}

static struct row **bucket(struct presence *presence, uint32_t hash)
{
    return &presence->buckets[hash & (BUCKETS - 1)];
}

static struct row *find(struct presence *presence, const char *client_id, uint32_t hash)
{
    struct row *row = *bucket(presence, hash);

    while (row != NULL && (row->hash != hash || strcmp(row->client_id, client_id) != 0)) row = row->next;
    return row;
}

static void leave_queue(struct presence *presence, struct row *row)
{
    if (row->before != NULL) row->before->after = row->after;
    else presence->first = row->after;
    if (row->after != NULL) row->after->before = row->before;
    else presence->last = row->before;
}

static void join_queue(struct presence *presence, struct row *row, int64_t due)
{
    row->due = due;
    row->before = presence->last;
    row->after = NULL;
    if (presence->last != NULL) presence->last->after = row;
    else presence->first = row;
    presence->last = row;
}

static void forget(struct presence *presence, struct row *row)
{
    struct row **link = bucket(presence, row->hash);

    while (*link != row) link = &(*link)->next;
    *link = row->next;
    leave_queue(presence, row);
    presence->count--;
    free(row);
}

static struct row *row_new(struct presence *presence, const char *client_id, uint32_t hash)
{
    const size_t size = strlen(client_id) + 1;
    struct row *row;

    if (presence->count >= UNTOLD_MAX) return NULL;
    row = calloc(1, sizeof *row + size);
    if (row == NULL) return NULL;
    memcpy(row->client_id, client_id, size);
    row->hash = hash;
    row->next = *bucket(presence, hash);
    *bucket(presence, hash) = row;
    presence->count++;
    return row;
}

bool presence_note(struct presence *presence, const char *client_id, bool connected, int64_t now)
{
    const uint32_t hash = (uint32_t)tag_of_bytes(&presence->key, client_id, strlen(client_id)).low;
    struct row *row = find(presence, client_id, hash);

    if (row == NULL) {
        row = row_new(presence, client_id, hash);
        if (row == NULL) return false;
        join_queue(presence, row, now + DELAY_MS);
    } else if (row->telling) { /* the report under way has what was; this is for a later one */
        leave_queue(presence, row);
        join_queue(presence, row, now + DELAY_MS);
    } /* else its turn stays: who comes and goes all the time must be told of as well */
    row->connected = connected;
    row->at = now;
    row->telling = false;
    return true;
}

static bool add_row(cJSON *list, const struct row *row, int64_t now)
{
    cJSON *object = cJSON_CreateObject();

    if (object != NULL && cJSON_AddStringToObject(object, "clientid", row->client_id) != NULL
        && cJSON_AddBoolToObject(object, "connected", row->connected) != NULL
        && cJSON_AddNumberToObject(object, "age", (double)(now - row->at)) != NULL
        && cJSON_AddItemToArray(list, object)) {
        return true;
    }
    cJSON_Delete(object);
    return false;
}

/* The rows that are due, as many as fit; false: out of memory. A client id may double in length by its escapes: the
 * hooks admit none that has any. */
static bool fill(struct presence *presence, cJSON *list, int64_t now)
{
    size_t rows = 0, size = ROW_SIZE;

    for (struct row *row = presence->first; row != NULL && row->due <= now && rows < ROWS; row = row->after) {
        size += ROW_SIZE + 2 * strlen(row->client_id);
        if (size > REPORT_MAX && rows > 0) break;
        row->telling = true;
        rows++;
        if (!add_row(list, row, now)) return false;
    }
    return true;
}

static bool is_due(const struct presence *presence, int64_t now)
{
    return now >= presence->due && (!presence->began_told || (presence->first != NULL && presence->first->due <= now));
}

char *presence_begin(struct presence *presence, int64_t now)
{
    cJSON *body, *list;
    char *text = NULL;
    bool good;

    if (!is_due(presence, now)) return NULL;
    presence->due = now + EVERY_MS;
    body = cJSON_CreateObject();
    presence->began_telling = !presence->began_told;
    good = !presence->began_telling
        || cJSON_AddNumberToObject(body, "began", (double)(now - presence->began)) != NULL;
    list = cJSON_AddArrayToObject(body, "connections");
    if (good && list != NULL && fill(presence, list, now)) text = cJSON_PrintUnformatted(body);
    cJSON_Delete(body);
    if (text == NULL) presence_end(presence, false);
    return text;
}

/* Those of the report stand first, but for what changed meanwhile: that went to the end. */
void presence_end(struct presence *presence, bool arrived)
{
    while (arrived && presence->first != NULL && presence->first->telling) forget(presence, presence->first);
    for (struct row *row = presence->first; row != NULL && row->telling; row = row->after) row->telling = false;
    if (arrived && presence->began_telling) presence->began_told = true;
    presence->began_telling = false;
}

size_t presence_count(const struct presence *presence)
{
    return presence->count;
}
