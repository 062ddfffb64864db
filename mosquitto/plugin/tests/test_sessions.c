#include "sessions.h"

#include "check.h"

#define LIMIT 8

static const struct identity alice = {"c1", "alice", "pw"};

static const void *client(size_t number)
{
    static const char places[4096] = {0};

    return &places[number];
}

static bool knows(const struct sessions *sessions, const void *who, const struct identity *identity)
{
    return sessions_recognise(sessions, who, identity, false);
}

static void check_recognition(void)
{
    static const struct {
        const char *name;
        struct identity identity;
    } others[] = {
        {"other client id", {"c2", "alice", "pw"}},  {"other user", {"c1", "bob", "pw"}},
        {"other password", {"c1", "alice", "pW"}},   {"a boundary moved", {"c1a", "lice", "pw"}},
        {"no client id", {NULL, "alice", "pw"}},     {"no user", {"c1", NULL, "pw"}},
        {"no password", {"c1", "alice", NULL}},      {"empty", {"", "", ""}},
    };
    struct sessions *sessions = sessions_new(LIMIT);

    CHECK(sessions != NULL, "new");
    CHECK(!knows(sessions, client(1), &alice), "nobody is known yet");
    CHECK(sessions_admit(sessions, client(1), &alice, NULL), "admit");
    CHECK(knows(sessions, client(1), &alice), "known");
    CHECK(!knows(sessions, client(2), &alice), "another pointer");
    CHECK(!knows(sessions, NULL, &alice), "no pointer");
    for (size_t i = 0; i < COUNT(others); i++) {
        CHECK(!knows(sessions, client(1), &others[i].identity), others[i].name);
    }
    sessions_forget(sessions, client(1));
    CHECK(!knows(sessions, client(1), &alice) && sessions_count(sessions) == 0, "forgotten");
    sessions_forget(sessions, client(1));
    sessions_forget(sessions, NULL);
    sessions_set_offline(sessions, client(1));
    sessions_set_offline(sessions, NULL);
    CHECK(sessions_count(sessions) == 0, "unknown pointers are ignored");
    sessions_free(sessions);
}

static void check_reused_pointer(void)
{
    const struct identity bob = {"c2", "bob", "pw"};
    struct sessions *sessions = sessions_new(LIMIT);

    CHECK(sessions_admit(sessions, client(1), &alice, NULL), "admit");
    CHECK(sessions_recognise(sessions, client(1), &alice, true), "while it is connected nobody else has its pointer");
    sessions_set_offline(sessions, client(1));
    CHECK(knows(sessions, client(1), &alice), "offline sessions are known");
    CHECK(!sessions_recognise(sessions, client(1), &alice, true), "but the pointer may have gone to a new client");
    CHECK(sessions_admit(sessions, client(1), &bob, NULL), "the pointer is somebody else's now");
    CHECK(!knows(sessions, client(1), &alice), "the one before is gone");
    CHECK(knows(sessions, client(1), &bob) && sessions_count(sessions) == 1, "and one entry is left");
    sessions_set_offline(sessions, client(1));
    sessions_set_offline(sessions, client(1));
    CHECK(sessions_count(sessions) == 1, "a second end counts once");
    sessions_free(sessions);
}

/* The longest offline goes first; those that are connected never go. */
static void check_limit(void)
{
    struct sessions *sessions = sessions_new(LIMIT);

    for (size_t i = 0; i < 1000; i++) CHECK(sessions_admit(sessions, client(i), &alice, NULL), "admit");
    CHECK(sessions_count(sessions) == 1000, "connected ones have no limit");
    for (size_t i = 0; i < LIMIT; i++) sessions_set_offline(sessions, client(i));
    CHECK(sessions_count(sessions) == 1000, "up to the limit");
    sessions_set_offline(sessions, client(0)); /* now the latest */
    sessions_set_offline(sessions, client(500));
    CHECK(sessions_count(sessions) == 999, "one too many");
    CHECK(!knows(sessions, client(1), &alice), "the oldest went");
    CHECK(knows(sessions, client(0), &alice), "not the one that was seen again");
    CHECK(sessions_admit(sessions, client(2), &alice, NULL), "back online");
    sessions_set_offline(sessions, client(501));
    CHECK(sessions_count(sessions) == 999, "there was room again");
    for (size_t i = 0; i < 1000; i++) sessions_set_offline(sessions, client(i));
    CHECK(sessions_count(sessions) == LIMIT, "all offline");
    for (size_t i = 0; i < 1000; i++) sessions_forget(sessions, client(i));
    CHECK(sessions_count(sessions) == 0, "all forgotten");
    sessions_free(sessions);
}

static void check_limit_of_one(void)
{
    struct sessions *sessions = sessions_new(1);

    for (size_t i = 1; i < 4; i++) {
        CHECK(sessions_admit(sessions, client(i), &alice, NULL), "admit");
        CHECK(sessions_set_offline(sessions, client(i)) != NULL, "who it was is still there");
        CHECK(sessions_count(sessions) == 1, "and nobody else");
    }
    sessions_free(sessions);
}

/* Compares a long random run with the dullest possible model: an array. */
static void check_against_model(void)
{
    enum { PLACES = 700, STEPS = 60000, OFFLINE = 100 };
    static struct {
        bool known, offline;
        unsigned long since;
    } model[PLACES];
    struct sessions *sessions = sessions_new(OFFLINE);
    unsigned random = 1;

    for (unsigned long step = 1; step <= STEPS; step++) {
        size_t i, offline = 0, known = 0, oldest = PLACES;
        random = random * 1103515245U + 12345U;
        i = (random >> 8) % PLACES;
        switch ((random >> 24) % 4) {
        case 0:
        case 1:
            CHECK(sessions_admit(sessions, client(i), &alice, NULL), "admit");
            model[i].known = true;
            model[i].offline = false;
            break;
        case 2:
            sessions_set_offline(sessions, client(i));
            model[i].offline = model[i].known;
            model[i].since = step;
            break;
        default:
            sessions_forget(sessions, client(i));
            model[i].known = model[i].offline = false;
        }
        for (size_t j = 0; j < PLACES; j++) {
            known += model[j].known;
            if (!model[j].offline) continue;
            offline++;
            if (oldest == PLACES || model[j].since < model[oldest].since) oldest = j;
        }
        if (offline > OFFLINE) {
            model[oldest].known = model[oldest].offline = false;
            known--;
        }
        CHECK(sessions_count(sessions) == known, "count");
        CHECK(knows(sessions, client(i), &alice) == model[i].known, "the one just touched");
    }
    for (size_t j = 0; j < PLACES; j++) {
        CHECK(knows(sessions, client(j), &alice) == model[j].known, "at the end");
    }
    sessions_free(sessions);
}

/* AUTH of the new one, DISCONNECT of the old one, in this order: the client id stays in use. */
static void check_takeover(void)
{
    static const struct identity service = {"c1", "~takeover", "pw"}, bob = {"c1", "bob", "pw"};
    struct sessions *sessions = sessions_new(LIMIT);
    const char *gone;

    CHECK(sessions != NULL && sessions_admit(sessions, client(1), &alice, NULL), "old");
    CHECK(sessions_is_in_use(sessions, "c1") && !sessions_is_in_use(sessions, "c2"), "in use");
    CHECK(sessions_admit(sessions, client(2), &bob, NULL), "new");
    CHECK(sessions_set_offline(sessions, client(1)) == NULL, "the new one is connected");
    CHECK(sessions_set_offline(sessions, client(1)) == NULL, "a second DISCONNECT of the old one");
    CHECK(sessions_is_in_use(sessions, "c1"), "the new one");
    gone = sessions_set_offline(sessions, client(2));
    CHECK(gone != NULL && strcmp(gone, "c1") == 0, "nobody any more");
    CHECK(sessions_set_offline(sessions, client(2)) == NULL, "once");
    CHECK(!sessions_is_in_use(sessions, "c1"), "offline");
    CHECK(sessions_admit(sessions, client(1), &alice, NULL), "again");
    CHECK(sessions_admit(sessions, client(3), &service, NULL), "our service takes over");
    CHECK(sessions_set_offline(sessions, client(1)) != NULL, "which is nobody's connection");
    CHECK(sessions_set_offline(sessions, client(3)) == NULL, "nor is its end");
    CHECK(sessions_set_offline(sessions, client(9)) == NULL && sessions_set_offline(sessions, NULL) == NULL, "unknown");
    sessions_free(sessions);
}

int main(void)
{
    check_recognition();
    check_reused_pointer();
    check_limit();
    check_limit_of_one();
    check_against_model();
    sessions_free(NULL);
    check_takeover();
    DONE();
    return 0;
}
