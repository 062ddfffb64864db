#include "feed.h"

#include <cjson/cJSON.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "answer.h"
#include "check.h"
#include "fakes.h"
#include "http.h"
#include "recent.h"

enum { LISTENER, ERRAND };

#define FOLLOWED "{\"ok\":true,\"position\":\"10:10:\",\"as_of\":\"10\",\"lost\":false,\"changes\":[]}"
#define GRANTS "{\"ok\":true,\"as_of\":\"11\",\"grants\":[[\"own/c1/#\",7]]}"

static char path[] = "/tmp/feed-XXXXXX";
static const struct identity alice = {"c1", "alice", "pw"}, bob = {"c2", "bob", "pw"};
static const char places[4096];
static int64_t now = 1000000;

static const void *client(size_t number)
{
    return &places[number];
}

static struct grants *some_grants(void)
{
    uint64_t as_of;
    const char *why;
    struct grants *grants;
    cJSON *document = answer_document(200, GRANTS, strlen(GRANTS), &why);

    CHECK(document != NULL, "document");
    grants = answer_grants(document, &as_of);
    CHECK(grants != NULL && as_of == 11, "grants");
    cJSON_Delete(document);
    return grants;
}

static void answer(struct feed *feed, int courier, long status, const char *body)
{
    CHECK(fake.couriers[courier].out, "a question is under way");
    fake.couriers[courier].back = true;
    fake.couriers[courier].status = status;
    fake.couriers[courier].body = body;
    feed_hear(feed, now);
}

static enum standing standing_of(const struct sessions *sessions, size_t number, const struct identity *identity)
{
    const struct grants *grants;

    return sessions_standing(sessions, client(number), identity->client_id, identity->username, &grants);
}

struct stage {
    struct sessions *sessions;
    struct feed *feed;
};

/* A feed that is followed, and two clients. */
static struct stage set_up(void)
{
    const struct options options = {.broker = (char[]){"b1"}, .secret_file = path, .timeout_ms = 100, .grants = true};
    char why[256] = "";
    struct stage stage = {sessions_new(100), NULL};

    CHECK(stage.sessions != NULL, "sessions");
    stage.feed = feed_new(&options, stage.sessions, now, why, sizeof why);
    CHECK(stage.feed != NULL, why);
    CHECK(!feed_is_heard(stage.feed, now), "not heard yet");
    feed_ask(stage.feed, now);
    CHECK(fake.couriers[LISTENER].route == HTTP_ROUTE_CHANGES && fake.couriers[LISTENER].sent[0] == '\0', "begin");
    CHECK(strcmp(fake.couriers[ERRAND].sent, "{\"began\":0,\"connections\":[]}") == 0, "nobody is connected yet");
    answer(stage.feed, ERRAND, 200, "{\"ok\":true}");
    answer(stage.feed, LISTENER, 200, FOLLOWED);
    CHECK(feed_is_heard(stage.feed, now), "heard");
    CHECK(sessions_admit(stage.sessions, client(1), &alice, some_grants()), "alice");
    CHECK(sessions_admit(stage.sessions, client(2), &bob, some_grants()), "bob");
    feed_check_login(stage.feed, client(1), "c1", "alice", 11);
    feed_check_login(stage.feed, client(2), "c2", "bob", 11);
    CHECK(standing_of(stage.sessions, 1, &alice) == STANDING_GRANTED, "as new as the feed");
    feed_ask(stage.feed, now);
    CHECK(strcmp(fake.couriers[LISTENER].sent, "10:10:") == 0, "goes on from there");
    CHECK(!fake.couriers[ERRAND].out, "nothing is wanted");
    return stage;
}

static void tear_down(struct stage *stage)
{
    feed_free(stage->feed);
    sessions_free(stage->sessions);
}

static void change(struct stage *stage, const char *changes)
{
    static char body[512];

    (void)snprintf(body, sizeof body, "{\"ok\":true,\"position\":\"20:20:\",\"as_of\":\"20\",\"lost\":false,"
                                      "\"changes\":%s}", changes);
    answer(stage->feed, LISTENER, 200, body);
}

static void check_changes(void)
{
    static const struct {
        const char *changes;
        enum standing alice, bob;
    } cases[] = {
        {"[]", STANDING_GRANTED, STANDING_GRANTED},
        {"[[\"user\",\"carl\"],[\"client\",\"c3\"],[\"broker\",\"b2\"]]", STANDING_GRANTED, STANDING_GRANTED},
        {"[[\"user\",\"alice\"]]", STANDING_STALE, STANDING_GRANTED},
        {"[[\"client\",\"c2\"]]", STANDING_GRANTED, STANDING_STALE},
        {"[[\"account\",\"1\"]]", STANDING_STALE, STANDING_STALE},
        {"[[\"broker\",\"b1\"]]", STANDING_STALE, STANDING_STALE},
        {"[[\"moon\",\"1\"]]", STANDING_STALE, STANDING_STALE},
        {"[[1]]", STANDING_STALE, STANDING_STALE},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct stage stage = set_up();

        change(&stage, cases[i].changes);
        CHECK(standing_of(stage.sessions, 1, &alice) == cases[i].alice, cases[i].changes);
        CHECK(standing_of(stage.sessions, 2, &bob) == cases[i].bob, cases[i].changes);
        tear_down(&stage);
    }
}

static void check_renewal(void)
{
    struct stage stage = set_up();
    char *kicked;

    change(&stage, "[[\"user\",\"alice\"],[\"user\",\"bob\"]]");
    feed_ask(stage.feed, now);
    CHECK(fake.couriers[ERRAND].route == HTTP_ROUTE_CLIENTS, "route");
    CHECK(strcmp(fake.couriers[ERRAND].sent, "{\"clients\":[{\"username\":\"alice\",\"clientid\":\"c1\"},"
                                             "{\"username\":\"bob\",\"clientid\":\"c2\"}]}") == 0, "who");
    answer(stage.feed, ERRAND, 200, "{\"ok\":true,\"clients\":[" GRANTS ",{\"ok\":false}]}");
    CHECK(standing_of(stage.sessions, 1, &alice) == STANDING_GRANTED, "has them anew");
    CHECK(standing_of(stage.sessions, 2, &bob) == STANDING_REVOKED, "may not be here");
    kicked = feed_next_revoked(stage.feed);
    CHECK(kicked != NULL && strcmp(kicked, "c2") == 0, "to be kicked");
    free(kicked);
    CHECK(feed_next_revoked(stage.feed) == NULL, "nobody else");
    CHECK(!sessions_recognise(stage.sessions, client(2), &bob, false), "SIGHUP brings it no rights");
    change(&stage, "[]") ;
    tear_down(&stage);
}

/* A change that comes while the answer is under way makes the answer worth nothing. */
static void check_changed_meanwhile(void)
{
    struct stage stage = set_up();

    change(&stage, "[[\"user\",\"alice\"]]");
    feed_ask(stage.feed, now);
    change(&stage, "[[\"user\",\"alice\"]]");
    answer(stage.feed, ERRAND, 200, "{\"ok\":true,\"clients\":[" GRANTS "]}");
    CHECK(standing_of(stage.sessions, 1, &alice) == STANDING_STALE, "asked anew");
    feed_ask(stage.feed, now);
    CHECK(fake.couriers[ERRAND].out, "again");
    /* And the pointer may be somebody else's by then. */
    CHECK(sessions_admit(stage.sessions, client(1), &bob, some_grants()), "bob under alice's pointer");
    answer(stage.feed, ERRAND, 200, "{\"ok\":true,\"clients\":[{\"ok\":false}]}");
    CHECK(standing_of(stage.sessions, 1, &bob) == STANDING_GRANTED, "it was not about bob");
    CHECK(standing_of(stage.sessions, 1, &alice) == STANDING_UNKNOWN, "and alice is not here");
    CHECK(feed_next_revoked(stage.feed) == NULL, "nobody is kicked");
    tear_down(&stage);
}

static void check_offline(void)
{
    struct stage stage = set_up();

    sessions_set_offline(stage.sessions, client(1));
    change(&stage, "[[\"user\",\"alice\"]]");
    feed_ask(stage.feed, now);
    answer(stage.feed, ERRAND, 200, "{\"ok\":true,\"clients\":[{\"ok\":false}]}");
    CHECK(standing_of(stage.sessions, 1, &alice) == STANDING_REVOKED, "a session without a connection as well");
    CHECK(feed_next_revoked(stage.feed) == NULL, "but whoever is connected under its client id stays");
    tear_down(&stage);
}

static void check_trouble(void)
{
    static const struct {
        long status;
        const char *body;
    } bad[] = {
        {0, NULL}, {503, ""}, {404, ""}, {403, "{\"ok\":false}"}, {200, "{\"ok\":true}"}, {200, "x"},
        {200, "{\"ok\":true,\"clients\":[]}"}, {200, "{\"ok\":true,\"clients\":[{\"ok\":null}]}"},
        {200, "{\"ok\":true,\"clients\":[{\"ok\":true}]}"},
        {200, "{\"ok\":true,\"clients\":[{\"ok\":true,\"as_of\":\"x\",\"grants\":[]}]}"},
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        struct stage stage = set_up();

        change(&stage, "[[\"user\",\"alice\"]]");
        feed_ask(stage.feed, now);
        answer(stage.feed, ERRAND, bad[i].status, bad[i].body);
        CHECK(standing_of(stage.sessions, 1, &alice) == STANDING_STALE, "nothing was learnt");
        now += 1000;
        feed_ask(stage.feed, now);
        CHECK(fake.couriers[ERRAND].out && fake.couriers[ERRAND].route == HTTP_ROUTE_CLIENTS, "asked again");
        answer(stage.feed, LISTENER, bad[i].status, bad[i].body);
        CHECK(feed_trouble(stage.feed) != NULL && feed_trouble(stage.feed) == NULL, "told once");
        CHECK(feed_is_heard(stage.feed, now), "for two seconds");
        CHECK(!feed_is_heard(stage.feed, now + 1000), "and then no longer");
        feed_ask(stage.feed, now);
        CHECK(!fake.couriers[LISTENER].out, "not at once again");
        now += 1000;
        feed_ask(stage.feed, now);
        CHECK(strcmp(fake.couriers[LISTENER].sent, "20:20:") == 0, "and from where it was");
        tear_down(&stage);
    }
}

static void check_lost(void)
{
    struct stage stage = set_up();

    answer(stage.feed, LISTENER, 200,
           "{\"ok\":true,\"position\":\"30:30:\",\"as_of\":\"30\",\"lost\":true,\"changes\":[]}");
    CHECK(standing_of(stage.sessions, 1, &alice) == STANDING_STALE, "everybody is looked at again");
    CHECK(standing_of(stage.sessions, 2, &bob) == STANDING_STALE, "everybody");
    feed_ask(stage.feed, now);
    answer(stage.feed, ERRAND, 200, "{\"ok\":true,\"clients\":[" GRANTS "," GRANTS "]}");
    CHECK(standing_of(stage.sessions, 2, &bob) == STANDING_GRANTED, "and stays");
    tear_down(&stage);
}

/* Grants that the hooks remembered may lack what the feed has told already. */
static void check_logins(void)
{
    static const struct {
        const char *changes;
        uint64_t as_of;
        enum standing standing;
    } cases[] = {
        {"[[\"user\",\"bob\"]]", 21, STANDING_GRANTED},       {"[[\"user\",\"bob\"]]", 20, STANDING_STALE},
        {"[[\"user\",\"bob\"]]", 19, STANDING_STALE},         {"[[\"client\",\"c2\"]]", 20, STANDING_STALE},
        {"[[\"user\",\"alice\"],[\"client\",\"c1\"]]", 19, STANDING_GRANTED},
        {"[[\"account\",\"1\"]]", 20, STANDING_STALE},        {"[[\"account\",\"1\"]]", 21, STANDING_GRANTED},
        {"[[\"broker\",\"b2\"]]", 19, STANDING_GRANTED},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct stage stage = set_up();

        change(&stage, cases[i].changes);
        CHECK(sessions_admit(stage.sessions, client(3), &bob, some_grants()), "a login");
        feed_check_login(stage.feed, client(3), "c2", "bob", cases[i].as_of);
        CHECK(standing_of(stage.sessions, 3, &bob) == cases[i].standing, cases[i].changes);
        tear_down(&stage);
    }
}

static void check_recent(void)
{
    struct recent recent = {0};
    char name[32];

    CHECK(!recent_may_concern(&recent, 1, "c", "u"), "nothing has changed");
    for (unsigned i = 1; i <= RECENT_CHANGES; i++) {
        (void)snprintf(name, sizeof name, "n%u", i);
        recent_note(&recent, i, name);
    }
    CHECK(recent_may_concern(&recent, 1, "n1", "u") && !recent_may_concern(&recent, 2, "n1", "u"), "all are there");
    recent_note(&recent, RECENT_CHANGES + 1, "more");
    CHECK(recent_may_concern(&recent, 1, "c", "u"), "the oldest is not, and may have been anybody");
    CHECK(!recent_may_concern(&recent, 2, "c", "u"), "what came after it is");
}

static void check_reports(void)
{
    struct stage stage = set_up();

    for (int i = 0; i < 3; i++) feed_note_refused(stage.feed, "c1", "alice", "x/\xc3\xa9", 2, "no_grant", now);
    feed_note_refused(stage.feed, "c1", "alice", "y", 4, "no_grant", now);
    feed_ask(stage.feed, now);
    CHECK(fake.couriers[ERRAND].route == HTTP_ROUTE_REPORTS, "route");
    CHECK(strcmp(fake.couriers[ERRAND].sent,
                 "{\"refused\":[{\"username\":\"alice\",\"clientid\":\"c1\",\"topic\":\"x/\xc3\xa9\",\"acc\":2,"
                 "\"reason\":\"no_grant\",\"count\":3},{\"username\":\"alice\",\"clientid\":\"c1\",\"topic\":\"y\","
                 "\"acc\":4,\"reason\":\"no_grant\",\"count\":1}]}") == 0, "what");
    answer(stage.feed, ERRAND, 503, "");
    now += 2000;
    feed_ask(stage.feed, now);
    CHECK(strstr(fake.couriers[ERRAND].sent, "\"count\":3") != NULL, "what did not arrive is told again");
    answer(stage.feed, ERRAND, 200, "{\"ok\":true}");
    feed_note_refused(stage.feed, "c1", "alice", "z", 2, "no_grant", now);
    now += 30000;
    feed_ask(stage.feed, now);
    CHECK(!fake.couriers[ERRAND].out, "the first of its kind in a minute");
    now += 31000;
    feed_ask(stage.feed, now);
    CHECK(strstr(fake.couriers[ERRAND].sent, "\"count\":1") != NULL, "and then the others' number");
    answer(stage.feed, ERRAND, 200, "{\"ok\":true}");
    sessions_note_active(stage.sessions, client(2));
    sessions_note_active(stage.sessions, client(2));
    now += 11000;
    feed_ask(stage.feed, now);
    CHECK(strcmp(fake.couriers[ERRAND].sent, "{\"seen\":[{\"username\":\"bob\",\"clientid\":\"c2\"}]}") == 0, "seen");
    tear_down(&stage);
}

/* Connections are told a second later, before the rest; a report that is lost is told again. */
static void check_connections(void)
{
    struct stage stage = set_up();

    feed_note_connection(stage.feed, "c1", true, now);
    feed_note_refused(stage.feed, "c1", "alice", "x", 2, "no_grant", now);
    feed_ask(stage.feed, now + 999);
    CHECK(strstr(fake.couriers[ERRAND].sent, "connections") == NULL, "not yet");
    answer(stage.feed, ERRAND, 200, "{\"ok\":true}");
    now += 1500;
    feed_ask(stage.feed, now);
    CHECK(fake.couriers[ERRAND].route == HTTP_ROUTE_REPORTS, "route");
    CHECK(strcmp(fake.couriers[ERRAND].sent,
                 "{\"connections\":[{\"clientid\":\"c1\",\"connected\":true,\"age\":1500}]}") == 0, "what");
    answer(stage.feed, ERRAND, 503, "{\"ok\":false}");
    CHECK(feed_trouble(stage.feed) != NULL, "said");
    now += 1000;
    feed_ask(stage.feed, now);
    CHECK(strstr(fake.couriers[ERRAND].sent, "\"age\":2500") != NULL, "told again, with its age");
    answer(stage.feed, ERRAND, 200, "{\"ok\":true}");
    now += 2000;
    feed_ask(stage.feed, now);
    CHECK(!fake.couriers[ERRAND].out, "and then no more");
    change(&stage, "[[\"user\",\"alice\"]]");
    feed_note_connection(stage.feed, "c1", false, now);
    for (int i = 0; i < 2; i++) {
        now += 2000;
        feed_ask(stage.feed, now);
        if (i == 0) CHECK(fake.couriers[ERRAND].route == HTTP_ROUTE_CLIENTS, "grants first");
        else CHECK(strstr(fake.couriers[ERRAND].sent, "\"connected\":false") != NULL, "but not for ever");
        answer(stage.feed, ERRAND, 200, "{\"ok\":true,\"clients\":[{\"ok\":null}]}");
    }
    tear_down(&stage);
}

int main(void)
{
    const int descriptor = mkstemp(path);

    CHECK(descriptor >= 0 && write(descriptor, "secret\n", 7) == 7 && close(descriptor) == 0, "secret file");
    check_changes();
    check_renewal();
    check_changed_meanwhile();
    check_offline();
    check_trouble();
    check_lost();
    check_logins();
    check_recent();
    check_reports();
    check_connections();
    CHECK(unlink(path) == 0, "unlink");
    DONE();
    return 0;
}
