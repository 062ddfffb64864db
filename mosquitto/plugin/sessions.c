#include "sessions.h"

#include <stdlib.h>
#include <string.h>

#include "tag.h"

#define FIRST_BUCKETS 256 /* a power of two, as are all later sizes */

/* Entries are found by each of these. */
enum key { BY_CLIENT, BY_CLIENT_ID, BY_USERNAME, KEYS };

struct list {
    struct session *first, *last;
};

struct place {
    struct session *before, *after;
    bool taken;
};

enum { OFFLINE, WANTED, ACTIVE, LISTS };

/* What a topic check looks at comes first: one line of the processor's cache, where there are many clients. */
struct session {
    const void *client;
    struct session *next[KEYS];  /* in its buckets */
    struct grants *grants;       /* NULL: none were told, or revoked */
    char *username;
    bool stale, revoked;
    uint32_t hashes[KEYS];
    struct tag tag;
    uint64_t generation;
    struct place places[LISTS];
    char client_id[]; /* and behind it the username */
};

struct sessions {
    struct tag_key key;
    struct session **buckets[KEYS];
    size_t bucket_count;
    size_t count;
    uint64_t generations; /* a pointer that is reused must not bring back an old one */
    struct list lists[LISTS];
    size_t offline_count, offline_limit;
};

static uint32_t hash_of_pointer(const void *client)
{
    /* Heap addresses differ in their middle bits; the multiplication by 2^64 / golden ratio brings them to the top
     * (Knuth, The Art of Computer Programming, volume 3, section 6.4). */
    return (uint32_t)(((uint64_t)(uintptr_t)client * 0x9e3779b97f4a7c15U) >> 32);
}

/* Keyed, as strangers choose names. */
static uint32_t hash_of_text(const struct sessions *sessions, const char *text)
{
    return (uint32_t)tag_of_bytes(&sessions->key, text, strlen(text)).low;
}

static struct session **bucket(const struct sessions *sessions, enum key key, uint32_t hash)
{
    return &sessions->buckets[key][hash & (sessions->bucket_count - 1)];
}

static struct session *find(const struct sessions *sessions, const void *client)
{
    struct session *session = *bucket(sessions, BY_CLIENT, hash_of_pointer(client));

    while (session != NULL && session->client != client) session = session->next[BY_CLIENT];
    return session;
}

static void leave(struct sessions *sessions, int list, struct session *session)
{
    struct place *place = &session->places[list];

    if (!place->taken) return;
    if (place->before != NULL) place->before->places[list].after = place->after;
    else sessions->lists[list].first = place->after;
    if (place->after != NULL) place->after->places[list].before = place->before;
    else sessions->lists[list].last = place->before;
    *place = (struct place){0};
    if (list == OFFLINE) sessions->offline_count--;
}

static void join(struct sessions *sessions, int list, struct session *session)
{
    struct session *last = sessions->lists[list].last;

    if (session->places[list].taken) return;
    session->places[list] = (struct place){.before = last, .taken = true};
    if (last != NULL) last->places[list].after = session;
    else sessions->lists[list].first = session;
    sessions->lists[list].last = session;
    if (list == OFFLINE) sessions->offline_count++;
}

static void insert(struct sessions *sessions, struct session *session)
{
    for (int key = 0; key < KEYS; key++) {
        struct session **head = bucket(sessions, key, session->hashes[key]);

        session->next[key] = *head;
        *head = session;
    }
    sessions->count++;
}

static void take_out(struct sessions *sessions, struct session *session)
{
    for (int key = 0; key < KEYS; key++) {
        struct session **link = bucket(sessions, key, session->hashes[key]);

        while (*link != session) link = &(*link)->next[key];
        *link = session->next[key];
    }
    sessions->count--;
}

static bool new_buckets(struct session **buckets[KEYS], size_t count)
{
    for (int key = 0; key < KEYS; key++) buckets[key] = calloc(count, sizeof(struct session *));
    for (int key = 0; key < KEYS; key++) {
        if (buckets[key] != NULL) continue;
        for (int other = 0; other < KEYS; other++) free(buckets[other]);
        return false;
    }
    return true;
}

/* If there is no memory for more buckets the chains get longer: slower, still right. */
static void grow(struct sessions *sessions)
{
    struct sessions larger = *sessions;

    larger.bucket_count *= 2;
    larger.count = 0;
    if (!new_buckets(larger.buckets, larger.bucket_count)) return;
    for (size_t i = 0; i < sessions->bucket_count; i++) {
        struct session *session = sessions->buckets[BY_CLIENT][i];
        while (session != NULL) {
            struct session *next = session->next[BY_CLIENT];
            insert(&larger, session);
            session = next;
        }
    }
    for (int key = 0; key < KEYS; key++) free(sessions->buckets[key]);
    *sessions = larger;
}

struct sessions *sessions_new(size_t offline_limit)
{
    struct sessions *sessions = calloc(1, sizeof *sessions);

    if (sessions == NULL) return NULL;
    sessions->offline_limit = offline_limit;
    sessions->bucket_count = FIRST_BUCKETS;
    if (tag_key_new(&sessions->key) && new_buckets(sessions->buckets, sessions->bucket_count)) return sessions;
    free(sessions);
    return NULL;
}

static void session_free(struct session *session)
{
    grants_free(session->grants);
    free(session);
}

void sessions_free(struct sessions *sessions)
{
    if (sessions == NULL) return;
    for (size_t i = 0; i < sessions->bucket_count; i++) {
        struct session *session = sessions->buckets[BY_CLIENT][i];
        while (session != NULL) {
            struct session *next = session->next[BY_CLIENT];
            session_free(session);
            session = next;
        }
    }
    for (int key = 0; key < KEYS; key++) free(sessions->buckets[key]);
    free(sessions);
}

static struct tag tag_of_identity(const struct sessions *sessions, const struct identity *identity)
{
    return tag_of(&sessions->key, identity->client_id, identity->username, identity->password);
}

static struct session *session_new(const struct sessions *sessions, const void *client,
                                   const struct identity *identity)
{
    const size_t id_size = strlen(identity->client_id) + 1, name_size = strlen(identity->username) + 1;
    struct session *session = calloc(1, sizeof *session + id_size + name_size);

    if (session == NULL) return NULL;
    memcpy(session->client_id, identity->client_id, id_size);
    session->username = session->client_id + id_size;
    memcpy(session->username, identity->username, name_size);
    session->client = client;
    session->tag = tag_of_identity(sessions, identity);
    session->hashes[BY_CLIENT] = hash_of_pointer(client);
    session->hashes[BY_CLIENT_ID] = hash_of_text(sessions, session->client_id);
    session->hashes[BY_USERNAME] = hash_of_text(sessions, session->username);
    return session;
}

bool sessions_admit(struct sessions *sessions, const void *client, const struct identity *identity,
                    struct grants *grants)
{
    struct session *session;

    sessions_forget(sessions, client);
    session = session_new(sessions, client, identity);
    if (session == NULL) {
        grants_free(grants);
        return false;
    }
    session->grants = grants;
    if (sessions->count >= sessions->bucket_count) grow(sessions);
    insert(sessions, session);
    return true;
}

void sessions_forget(struct sessions *sessions, const void *client)
{
    struct session *session = find(sessions, client);

    if (session == NULL) return;
    for (int list = 0; list < LISTS; list++) leave(sessions, list, session);
    take_out(sessions, session);
    session_free(session);
}

static bool is_connected(const struct session *session)
{
    return !session->places[OFFLINE].taken && session->username[0] != '~';
}

static bool is_connected_under(const struct sessions *sessions, const char *client_id, bool even_revoked)
{
    const struct session *session = *bucket(sessions, BY_CLIENT_ID, hash_of_text(sessions, client_id));

    for (; session != NULL; session = session->next[BY_CLIENT_ID]) {
        if (is_connected(session) && (even_revoked || !session->revoked)
            && strcmp(session->client_id, client_id) == 0) {
            return true;
        }
    }
    return false;
}

bool sessions_is_in_use(const struct sessions *sessions, const char *client_id)
{
    return is_connected_under(sessions, client_id, false);
}

const char *sessions_set_offline(struct sessions *sessions, const void *client)
{
    struct session *session = find(sessions, client);
    bool was_connected;

    if (session == NULL) return NULL;
    was_connected = is_connected(session);
    /* A second DISCONNECT for a session that is offline, as a takeover brings, makes it the latest again. */
    leave(sessions, OFFLINE, session);
    join(sessions, OFFLINE, session);
    if (sessions->offline_count > sessions->offline_limit && sessions->lists[OFFLINE].first != session) {
        sessions_forget(sessions, sessions->lists[OFFLINE].first->client);
    }
    return was_connected && !is_connected_under(sessions, session->client_id, true) ? session->client_id : NULL;
}

bool sessions_recognise(const struct sessions *sessions, const void *client, const struct identity *identity,
                        bool may_be_new)
{
    const struct session *session = find(sessions, client);

    if (session == NULL || session->revoked || (session->places[OFFLINE].taken && may_be_new)) return false;
    if (identity->client_id == NULL || identity->username == NULL || identity->password == NULL) return false;
    return tag_equal(session->tag, tag_of_identity(sessions, identity));
}

enum standing sessions_standing(const struct sessions *sessions, const void *client, const char *client_id,
                                const char *username, const struct grants **grants)
{
    const struct session *session = find(sessions, client);

    *grants = NULL;
    if (session == NULL || strcmp(session->client_id, client_id) != 0 || strcmp(session->username, username) != 0) {
        return STANDING_UNKNOWN;
    }
    if (session->revoked) return STANDING_REVOKED;
    *grants = session->grants;
    if (session->grants == NULL) return STANDING_UNKNOWN;
    return session->stale ? STANDING_STALE : STANDING_GRANTED;
}

static void doubt(struct sessions *sessions, struct session *session)
{
    if (session->grants == NULL) return;
    session->stale = true;
    session->generation = ++sessions->generations;
    join(sessions, WANTED, session);
}

void sessions_doubt_client_id(struct sessions *sessions, const char *client_id)
{
    struct session *session = *bucket(sessions, BY_CLIENT_ID, hash_of_text(sessions, client_id));

    for (; session != NULL; session = session->next[BY_CLIENT_ID]) {
        if (strcmp(session->client_id, client_id) == 0) doubt(sessions, session);
    }
}

void sessions_doubt_username(struct sessions *sessions, const char *username)
{
    struct session *session = *bucket(sessions, BY_USERNAME, hash_of_text(sessions, username));

    for (; session != NULL; session = session->next[BY_USERNAME]) {
        if (strcmp(session->username, username) == 0) doubt(sessions, session);
    }
}

void sessions_doubt(struct sessions *sessions, const void *client)
{
    struct session *session = find(sessions, client);

    if (session != NULL) doubt(sessions, session);
}

void sessions_doubt_all(struct sessions *sessions)
{
    for (size_t i = 0; i < sessions->bucket_count; i++) {
        struct session *session = sessions->buckets[BY_CLIENT][i];

        for (; session != NULL; session = session->next[BY_CLIENT]) doubt(sessions, session);
    }
}

static bool next_of(struct sessions *sessions, int list, struct ticket *ticket)
{
    struct session *session = sessions->lists[list].first;

    if (session == NULL) return false;
    leave(sessions, list, session);
    *ticket = (struct ticket){session->client, session->generation, session->client_id, session->username};
    return true;
}

bool sessions_want_any(const struct sessions *sessions)
{
    return sessions->lists[WANTED].first != NULL;
}

bool sessions_next_wanted(struct sessions *sessions, struct ticket *ticket)
{
    return next_of(sessions, WANTED, ticket);
}

void sessions_note_active(struct sessions *sessions, const void *client)
{
    struct session *session = find(sessions, client);

    if (session != NULL) join(sessions, ACTIVE, session);
}

bool sessions_next_active(struct sessions *sessions, struct ticket *ticket)
{
    return next_of(sessions, ACTIVE, ticket);
}

/* The entry that a ticket is still about, or NULL: a pointer may have gone to somebody else since. */
static struct session *find_again(const struct sessions *sessions, const void *client, uint64_t generation)
{
    struct session *session = find(sessions, client);

    return session != NULL && session->stale && session->generation == generation ? session : NULL;
}

void sessions_want_again(struct sessions *sessions, const void *client, uint64_t generation)
{
    struct session *session = find_again(sessions, client, generation);

    if (session != NULL) join(sessions, WANTED, session);
}

const char *sessions_renew(struct sessions *sessions, const void *client, uint64_t generation, struct grants *grants)
{
    struct session *session = find_again(sessions, client, generation);

    if (session == NULL) {
        grants_free(grants);
        return NULL;
    }
    grants_free(session->grants);
    session->grants = grants;
    session->stale = false;
    session->revoked = grants == NULL;
    return session->revoked && !session->places[OFFLINE].taken ? session->client_id : NULL;
}

size_t sessions_count(const struct sessions *sessions)
{
    return sessions->count;
}
