#include "sessions.h"

#include <stdint.h>
#include <stdlib.h>

#include "tag.h"

#define FIRST_BUCKETS 256 /* a power of two, as are all later sizes */

struct session {
    const void *client;
    struct tag tag;
    struct session *next; /* in its bucket */
    struct session *older, *newer; /* among those that are offline */
    bool offline;
};

struct sessions {
    struct tag_key key;
    struct session **buckets;
    size_t bucket_count;
    size_t count;
    struct session *oldest, *newest; /* offline */
    size_t offline_count, offline_limit;
};

static size_t bucket_of(const void *client, size_t bucket_count)
{
    /* Heap addresses differ in their middle bits; the multiplication by 2^64 / golden ratio brings them to the top
     * (Knuth, The Art of Computer Programming, volume 3, section 6.4). */
    const uint64_t mixed = (uint64_t)(uintptr_t)client * 0x9e3779b97f4a7c15U;

    return (size_t)(mixed >> 32) & (bucket_count - 1);
}

/* The link that points to the client's entry, or the empty one at the end of its bucket. */
static struct session **find(const struct sessions *sessions, const void *client)
{
    struct session **link = &sessions->buckets[bucket_of(client, sessions->bucket_count)];

    while (*link != NULL && (*link)->client != client) link = &(*link)->next;
    return link;
}

static void leave_offline_list(struct sessions *sessions, struct session *session)
{
    if (!session->offline) return;
    if (session->older != NULL) session->older->newer = session->newer;
    else sessions->oldest = session->newer;
    if (session->newer != NULL) session->newer->older = session->older;
    else sessions->newest = session->older;
    session->older = session->newer = NULL;
    session->offline = false;
    sessions->offline_count--;
}

static void join_offline_list(struct sessions *sessions, struct session *session)
{
    session->older = sessions->newest;
    session->newer = NULL;
    if (sessions->newest != NULL) sessions->newest->newer = session;
    else sessions->oldest = session;
    sessions->newest = session;
    session->offline = true;
    sessions->offline_count++;
}

/* If there is no memory for more buckets the chains get longer: slower, still right. */
static void grow(struct sessions *sessions)
{
    const size_t bucket_count = sessions->bucket_count * 2;
    struct session **buckets = calloc(bucket_count, sizeof(struct session *));

    if (buckets == NULL) return;
    for (size_t i = 0; i < sessions->bucket_count; i++) {
        struct session *session = sessions->buckets[i];
        while (session != NULL) {
            struct session *next = session->next;
            struct session **bucket = &buckets[bucket_of(session->client, bucket_count)];
            session->next = *bucket;
            *bucket = session;
            session = next;
        }
    }
    free(sessions->buckets);
    sessions->buckets = buckets;
    sessions->bucket_count = bucket_count;
}

static struct session *insert(struct sessions *sessions, const void *client)
{
    struct session *session = calloc(1, sizeof *session);
    struct session **link;

    if (session == NULL) return NULL;
    if (sessions->count >= sessions->bucket_count) grow(sessions);
    link = find(sessions, client);
    session->client = client;
    *link = session;
    sessions->count++;
    return session;
}

struct sessions *sessions_new(size_t offline_limit)
{
    struct sessions *sessions = calloc(1, sizeof *sessions);

    if (sessions == NULL) return NULL;
    sessions->offline_limit = offline_limit;
    sessions->bucket_count = FIRST_BUCKETS;
    sessions->buckets = calloc(sessions->bucket_count, sizeof(struct session *));
    if (sessions->buckets == NULL || !tag_key_new(&sessions->key)) {
        sessions_free(sessions);
        return NULL;
    }
    return sessions;
}

void sessions_free(struct sessions *sessions)
{
    if (sessions == NULL) return;
    for (size_t i = 0; sessions->buckets != NULL && i < sessions->bucket_count; i++) {
        while (sessions->buckets[i] != NULL) {
            struct session *session = sessions->buckets[i];
            sessions->buckets[i] = session->next;
            free(session);
        }
    }
    free(sessions->buckets);
    free(sessions);
}

static struct tag tag_of_identity(const struct sessions *sessions, const struct identity *identity)
{
    return tag_of(&sessions->key, identity->client_id, identity->username, identity->password);
}

bool sessions_admit(struct sessions *sessions, const void *client, const struct identity *identity)
{
    struct session *session = *find(sessions, client);

    if (session == NULL) session = insert(sessions, client);
    if (session == NULL) return false;
    leave_offline_list(sessions, session);
    session->tag = tag_of_identity(sessions, identity);
    return true;
}

void sessions_forget(struct sessions *sessions, const void *client)
{
    struct session **link = find(sessions, client);
    struct session *session = *link;

    if (session == NULL) return;
    leave_offline_list(sessions, session);
    *link = session->next;
    sessions->count--;
    free(session);
}

void sessions_set_offline(struct sessions *sessions, const void *client)
{
    struct session *session = *find(sessions, client);

    if (session == NULL) return;
    /* A second DISCONNECT for a session that is offline, as a takeover brings, makes it the latest again. */
    leave_offline_list(sessions, session);
    join_offline_list(sessions, session);
    if (sessions->offline_count > sessions->offline_limit) sessions_forget(sessions, sessions->oldest->client);
}

bool sessions_recognise(const struct sessions *sessions, const void *client, const struct identity *identity,
                        bool may_be_new)
{
    const struct session *session = *find(sessions, client);

    if (session == NULL || (session->offline && may_be_new)) return false;
    if (identity->client_id == NULL || identity->username == NULL || identity->password == NULL) return false;
    return tag_equal(session->tag, tag_of_identity(sessions, identity));
}

size_t sessions_count(const struct sessions *sessions)
{
    return sessions->count;
}
