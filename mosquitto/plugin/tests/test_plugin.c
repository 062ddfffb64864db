#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker.h"
#include "check.h"
#include "fakes.h"

static char path[] = "/tmp/plugin-XXXXXX";
static void *context;

static struct mosquitto alice = {.id = "c1", .username = "alice", .address = "127.0.0.1", .protocol = 4, .clean = true};

static void write_secret(const char *content)
{
    FILE *file = fopen(path, "w");

    CHECK(file != NULL && fputs(content, file) >= 0 && fclose(file) == 0, "write");
}

static void hooks_answer(long status, const char *body)
{
    fake.status = status;
    fake.body = body;
}

static int start(void)
{
    struct mosquitto_opt options[] = {
        {(char[]){"url"}, (char[]){"http://127.0.0.1:1"}},
        {(char[]){"broker"}, (char[]){"b1"}},
        {(char[]){"secret_file"}, path},
    };

    context = NULL;
    fake.log[0] = '\0';
    return mosquitto_plugin_init(NULL, &context, options, (int)COUNT(options));
}

static void stop(void)
{
    CHECK(mosquitto_plugin_cleanup(context, NULL, 0) == BROKER_SUCCESS, "stop");
    for (size_t i = 0; i < FAKE_EVENTS; i++) CHECK(fake.callbacks[i] == NULL, "no callback stays");
}

static int log_in(struct mosquitto *client, const char *username, const char *password)
{
    struct mosquitto_evt_basic_auth auth = {.client = client};
    char *name = username != NULL ? strdup(username) : NULL;
    char *word = password != NULL ? strdup(password) : NULL;
    int result;

    auth.username = name;
    auth.password = word;
    result = fake.callbacks[MOSQ_EVT_BASIC_AUTH](MOSQ_EVT_BASIC_AUTH, &auth, fake.user_data[MOSQ_EVT_BASIC_AUTH]);
    free(name);
    free(word);
    return result;
}

static int check_access(struct mosquitto *client, const char *topic, int acc)
{
    struct mosquitto_evt_acl_check check = {.client = client, .topic = topic, .access = acc};

    return fake.callbacks[MOSQ_EVT_ACL_CHECK](MOSQ_EVT_ACL_CHECK, &check, fake.user_data[MOSQ_EVT_ACL_CHECK]);
}

static void disconnect(struct mosquitto *client)
{
    struct mosquitto_evt_disconnect event = {.client = client, .reason = -1};

    (void)fake.callbacks[MOSQ_EVT_DISCONNECT](MOSQ_EVT_DISCONNECT, &event, fake.user_data[MOSQ_EVT_DISCONNECT]);
}

static void reload(void)
{
    struct mosquitto_evt_reload event = {0};

    CHECK(fake.callbacks[MOSQ_EVT_RELOAD](MOSQ_EVT_RELOAD, &event, fake.user_data[MOSQ_EVT_RELOAD]) == 0, "reload");
}

/* By which the plugin's clock is ahead: seconds, and milliseconds. */
static time_t ahead;
static long ahead_ms;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    const int result = __real_clock_gettime(clock, now);

    now->tv_nsec += ahead_ms * 1000000;
    now->tv_sec += ahead + now->tv_nsec / 1000000000;
    now->tv_nsec %= 1000000000;
    return result;
}

/* Each is of a moment of its own, as it is where the broker has nothing else to do. */
static void tick(void)
{
    struct mosquitto_evt_tick event = {0};

    ahead_ms += 10;
    CHECK(fake.callbacks[MOSQ_EVT_TICK](MOSQ_EVT_TICK, &event, fake.user_data[MOSQ_EVT_TICK]) == 0, "tick");
}

static void check_version(void)
{
    static const int both[] = {4, 5}, old[] = {2, 3, 4};

    CHECK(mosquitto_plugin_version(2, both) == 5, "5");
    CHECK(mosquitto_plugin_version(3, old) == -1, "too old");
    CHECK(mosquitto_plugin_version(0, NULL) == -1, "none");
}

static void check_start(void)
{
    hooks_answer(403, "{\"ok\":false}");
    CHECK(start() == BROKER_SUCCESS && fake.log[0] == '\0', "good");
    CHECK(strcmp(fake.last_path, "superuser") == 0, "probe");
    CHECK(strcmp(fake.last_question, "{\"username\":\"~probe\"}") == 0, "probe");
    stop();
    hooks_answer(0, NULL);
    CHECK(start() == BROKER_SUCCESS && strstr(fake.log, "not reachable") != NULL, "hooks away");
    stop();
    hooks_answer(404, "");
    CHECK(start() == BROKER_SUCCESS && strstr(fake.log, "404") != NULL, "other hooks");
    stop();
    hooks_answer(401, "");
    CHECK(start() != BROKER_SUCCESS && context == NULL && strstr(fake.log, "401") != NULL, "wrong secret");
    CHECK(strstr(fake.log, "first") == NULL, "the secret is not in the log");
    hooks_answer(403, "");
    fake.refused_event = MOSQ_EVT_TICK;
    CHECK(start() != BROKER_SUCCESS && strstr(fake.log, "TICK") != NULL, "an event that the broker refuses");
    for (size_t i = 0; i < FAKE_EVENTS; i++) CHECK(fake.callbacks[i] == NULL, "the others are taken back");
    fake.refused_event = 0;
    fake.no_http = true;
    CHECK(start() != BROKER_SUCCESS && strstr(fake.log, "no http") != NULL, "no libcurl");
    fake.no_http = false;
    write_secret("");
    CHECK(start() != BROKER_SUCCESS && strstr(fake.log, "plugin_opt_secret_file") != NULL, "no secret");
    write_secret("first\n");
    CHECK(mosquitto_plugin_cleanup(NULL, NULL, 0) == BROKER_SUCCESS, "nothing to clean");
}

static void check_logins(void)
{
    struct mosquitto nobody = {0};
    static const struct {
        long status;
        const char *body;
        int result;
    } answers[] = {
        {200, "{\"ok\":true}", BROKER_SUCCESS}, {200, "{\"ok\":false}", BROKER_AUTH}, {403, "", BROKER_AUTH},
        {401, "", BROKER_UNKNOWN},              {503, "", BROKER_UNKNOWN},            {0, NULL, BROKER_UNKNOWN},
        {200, "", BROKER_UNKNOWN},              {302, "", BROKER_UNKNOWN},
    };
    int before;

    for (size_t i = 0; i < COUNT(answers); i++) {
        hooks_answer(answers[i].status, answers[i].body);
        CHECK(log_in(&alice, "alice", "pw") == answers[i].result, "verdict");
        CHECK(strcmp(fake.last_path, "user") == 0, "route");
    }
    CHECK(strcmp(fake.last_question, "{\"username\":\"alice\",\"password\":\"pw\",\"clientid\":\"c1\","
                                     "\"address\":\"127.0.0.1\",\"protocol\":4,\"clean\":true,\"grants\":true}") == 0,
          "question");
    hooks_answer(200, "{\"ok\":true}");
    before = fake.questions;
    CHECK(log_in(NULL, "alice", "pw") == BROKER_AUTH, "no client");
    CHECK(log_in(&alice, NULL, "pw") == BROKER_AUTH && log_in(&alice, "", "pw") == BROKER_AUTH, "no username");
    CHECK(log_in(&alice, "alice", NULL) == BROKER_AUTH && log_in(&alice, "alice", "") == BROKER_AUTH, "no password");
    CHECK(log_in(&nobody, "alice", "pw") == BROKER_AUTH, "no client id");
    CHECK(log_in(&alice, "alice", "\xff") == BROKER_AUTH, "not UTF-8");
    CHECK(fake.questions == before, "and no question");
}

static void check_accesses(void)
{
    struct mosquitto no_name = {.id = "c1"}, no_id = {.username = "alice"};
    struct mosquitto wild_name = {.id = "c1", .username = "a+"}, wild_id = {.id = "#", .username = "alice"};
    static const int strange[] = {0, 3, 5, 6, 7, 9, 16, -1};
    int before;

    hooks_answer(200, "{\"ok\":true}");
    CHECK(check_access(&alice, "a/#", 4) == BROKER_SUCCESS, "allowed");
    CHECK(strcmp(fake.last_path, "acl") == 0, "route");
    CHECK(strcmp(fake.last_question, "{\"username\":\"alice\",\"clientid\":\"c1\",\"topic\":\"a/#\",\"acc\":4}") == 0,
          "question");
    hooks_answer(403, "");
    CHECK(check_access(&alice, "a", 1) == BROKER_ACL_DENIED, "denied");
    hooks_answer(0, NULL);
    CHECK(check_access(&alice, "a", 2) == BROKER_UNKNOWN, "trouble");
    hooks_answer(200, "{\"ok\":true}");
    before = fake.questions;
    CHECK(check_access(NULL, "a", 2) == BROKER_ACL_DENIED, "no client");
    CHECK(check_access(&alice, NULL, 2) == BROKER_ACL_DENIED, "no topic");
    CHECK(check_access(&alice, "\xff", 2) == BROKER_ACL_DENIED, "not UTF-8");
    CHECK(check_access(&no_name, "a", 2) == BROKER_ACL_DENIED, "no username");
    CHECK(check_access(&no_id, "a", 2) == BROKER_ACL_DENIED, "no client id");
    CHECK(check_access(&wild_name, "a", 2) == BROKER_ACL_DENIED, "a wildcard in the username");
    CHECK(check_access(&wild_id, "a", 2) == BROKER_ACL_DENIED, "a wildcard in the client id");
    for (size_t i = 0; i < COUNT(strange); i++) {
        CHECK(check_access(&alice, "a", strange[i]) == BROKER_ACL_DENIED, "an access that is none");
    }
    CHECK(check_access(&alice, "a", MOSQ_ACL_UNSUBSCRIBE) == BROKER_SUCCESS, "unsubscribe");
    CHECK(check_access(NULL, NULL, MOSQ_ACL_UNSUBSCRIBE) == BROKER_SUCCESS, "unsubscribe");
    CHECK(fake.questions == before, "and no question");
}

/* Everybody who was let in stays, nobody else gets in, and the hooks are not asked. */
static void check_reload_window(void)
{
    struct mosquitto bob = {.id = "c2", .username = "bob", .protocol = 5};
    struct mosquitto refused = {.id = "c3", .username = "carl", .protocol = 5};
    struct mosquitto restored = {.id = "c4", .username = "dora", .protocol = 4};
    int before;

    hooks_answer(200, "{\"ok\":true}");
    CHECK(log_in(&alice, "alice", "pw") == BROKER_SUCCESS && log_in(&bob, "bob", "pw") == BROKER_SUCCESS, "in");
    CHECK(log_in(&refused, "carl", "pw") == BROKER_SUCCESS, "in");
    hooks_answer(403, "");
    CHECK(log_in(&refused, "carl", "pw") == BROKER_AUTH, "the same pointer, refused");
    disconnect(&bob);
    disconnect(NULL);
    hooks_answer(200, "{\"ok\":true}");
    before = fake.questions;
    reload();
    CHECK(log_in(&alice, "alice", "pw") == BROKER_SUCCESS, "connected");
    CHECK(log_in(&bob, "bob", "pw") == BROKER_SUCCESS, "offline");
    CHECK(log_in(&alice, "alice", "PW") == BROKER_UNKNOWN, "another password");
    CHECK(log_in(&alice, "bob", "pw") == BROKER_UNKNOWN, "another user");
    CHECK(log_in(&refused, "carl", "pw") == BROKER_UNKNOWN, "refused before");
    CHECK(log_in(&restored, "dora", NULL) == BROKER_UNKNOWN, "restored from disk");
    alice.websocket = bob.websocket = true;
    CHECK(log_in(&alice, "alice", "pw") == BROKER_SUCCESS, "connected by WebSocket");
    CHECK(log_in(&bob, "bob", "pw") == BROKER_UNKNOWN, "a new WebSocket client with the pointer and all of an old one");
    alice.websocket = bob.websocket = false;
    alice.id = "c9";
    CHECK(log_in(&alice, "alice", "pw") == BROKER_UNKNOWN, "another client id");
    alice.id = "c1";
    CHECK(log_in(NULL, "alice", "pw") != BROKER_SUCCESS, "no client");
    CHECK(fake.questions == before, "no question in the window");
    tick();
    hooks_answer(403, "");
    CHECK(log_in(&alice, "alice", "pw") == BROKER_AUTH, "after the window the hooks decide");
    CHECK(fake.questions == before + 1, "asked");
    reload();
    CHECK(log_in(&alice, "alice", "pw") == BROKER_UNKNOWN, "and what they decided holds in the next one");
    tick();
}

static void check_new_secret(void)
{
    CHECK(strcmp(fake.secret, "first") == 0, "at the start");
    write_secret("second\n");
    reload();
    CHECK(strcmp(fake.secret, "second") == 0, "read again");
    write_secret("two\nlines\n");
    fake.log[0] = '\0';
    reload();
    CHECK(strcmp(fake.secret, "second") == 0 && strstr(fake.log, "one line") != NULL, "no secret: the old one stays");
    CHECK(chmod(path, 0644) == 0, "chmod");
    write_secret("third\n");
    reload();
    CHECK(strcmp(fake.secret, "second") == 0, "open to others: the old one stays");
    CHECK(chmod(path, 0600) == 0 && unlink(path) == 0, "unlink");
    reload();
    CHECK(strcmp(fake.secret, "second") == 0, "gone: the old one stays");
    write_secret("third\n");
    CHECK(chmod(path, 0600) == 0, "chmod");
    fake.keep_secret = true;
    reload();
    CHECK(strcmp(fake.secret, "second") == 0 && strstr(fake.log, "out of memory") != NULL, "no memory");
    fake.keep_secret = false;
    CHECK(strstr(fake.log, "second") == NULL && strstr(fake.log, "third") == NULL, "the secret is not in the log");
    tick();
}

static void hear(int courier, const char *body)
{
    CHECK(fake.couriers[courier].out, "a question is under way");
    fake.couriers[courier].back = true;
    fake.couriers[courier].status = 200;
    fake.couriers[courier].body = body;
}

#define FOLLOWED "{\"ok\":true,\"position\":\"1:1:\",\"as_of\":\"1\",\"lost\":false,\"changes\":"

/* Mosquitto 2.0.11 ends the connection and asks for each subscription again, on the same stack. */
static void end_kicked(void)
{
    disconnect(&alice);
    CHECK(check_access(&alice, "own/c1/x", 4) == BROKER_ACL_DENIED, "a subscription of who is kicked");
    CHECK(check_access(&alice, "own/c1/gone", 2) == BROKER_ACL_DENIED, "its will");
    disconnect(&alice);
}

/* With the feed heard nobody is asked; who lost the right to be here is kicked, and may do nothing until it logs in. */
static void check_grants(void)
{
    int before;

    tick();
    hear(0, FOLLOWED "[]}");
    CHECK(strstr(fake.couriers[1].sent, "\"began\":") != NULL, "nobody is connected any more");
    hear(1, "{\"ok\":true}");
    tick();
    hooks_answer(200, "{\"ok\":true,\"as_of\":\"5\",\"grants\":[[\"own/c1/#\",3],[\"other/+\",4]]}");
    CHECK(log_in(&alice, "alice", "pw") == BROKER_SUCCESS, "in");
    before = fake.questions;
    hooks_answer(0, NULL);
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_SUCCESS, "write");
    CHECK(check_access(&alice, "own/c1/x", 1) == BROKER_SUCCESS, "read");
    CHECK(check_access(&alice, "other/x", 4) == BROKER_SUCCESS, "subscribe");
    CHECK(check_access(&alice, "other/x", 2) == BROKER_ACL_DENIED, "no grant");
    CHECK(check_access(&alice, "own/c1/#", 4) == BROKER_ACL_DENIED, "no grant");
    CHECK(fake.questions == before, "and no question");
    alice.username = "bob";
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_UNKNOWN && fake.questions == before + 1, "another name: asked");
    alice.username = "alice";
    hear(0, FOLLOWED "[[\"user\",\"alice\"]]}");
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_UNKNOWN && fake.questions == before + 2, "a change: asked");
    tick();
    hear(1, "{\"ok\":true,\"clients\":[{\"ok\":false}]}");
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_ACL_DENIED, "revoked");
    CHECK(fake.kicked[0] == '\0', "not within an event of its own");
    fake.on_kick = end_kicked;
    tick();
    fake.on_kick = NULL;
    CHECK(strcmp(fake.kicked, "c1 ") == 0, "kicked");
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_ACL_DENIED && fake.questions == before + 2, "still revoked");
    hooks_answer(200, "{\"ok\":true,\"as_of\":\"5\",\"grants\":[[\"own/c1/#\",3]]}");
    CHECK(log_in(&alice, "alice", "pw") == BROKER_SUCCESS, "in again");
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_SUCCESS && fake.questions == before + 3, "with new grants");
    hooks_answer(200, "{\"ok\":true}");
    CHECK(log_in(&alice, "alice", "pw") == BROKER_SUCCESS, "hooks that tell no grants");
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_SUCCESS && fake.questions == before + 5, "are asked");
}

/* With the feed silent the hooks are asked; if they do not answer, what they granted stands for a minute. */
static void check_silence(void)
{
    int before;

    tick();
    hear(0, FOLLOWED "[]}");
    if (fake.couriers[1].out) hear(1, "{\"ok\":true}"); /* a report of what was refused before */
    tick();
    hooks_answer(200, "{\"ok\":true,\"as_of\":\"5\",\"grants\":[[\"own/c1/#\",3]]}");
    CHECK(log_in(&alice, "alice", "pw") == BROKER_SUCCESS, "in");
    ahead += 3;
    before = fake.questions;
    hooks_answer(403, "");
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_ACL_DENIED && fake.questions == before + 1, "asked");
    hooks_answer(0, NULL);
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_SUCCESS && fake.questions == before + 2, "by its grants");
    CHECK(check_access(&alice, "other", 2) == BROKER_ACL_DENIED && fake.questions == before + 2, "not waited for again");
    ahead += 2;
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_SUCCESS && fake.questions == before + 3, "but later");
    hear(0, FOLLOWED "[[\"user\",\"alice\"]]}");
    tick();
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_UNKNOWN, "what changed is not gone by");
    hear(1, "{\"ok\":true,\"clients\":[{\"ok\":true,\"as_of\":\"9\",\"grants\":[[\"own/c1/#\",3]]}]}");
    tick();
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_SUCCESS, "had anew");
    ahead += 55;
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_SUCCESS, "still within the minute");
    ahead += 7;
    CHECK(check_access(&alice, "own/c1/x", 2) == BROKER_UNKNOWN, "and then no longer");
    ahead = 0;
}

static bool told(const char *client_id, bool connected)
{
    char row[128];

    (void)snprintf(row, sizeof row, "{\"clientid\":\"%s\",\"connected\":%s,", client_id, connected ? "true" : "false");
    return strstr(fake.couriers[1].sent, row) != NULL;
}

/* All that is to be told goes out, and is heard. */
static void settle(void)
{
    for (int i = 0; i < 8; i++) {
        if (fake.couriers[0].out) hear(0, FOLLOWED "[]}");
        if (fake.couriers[1].out) hear(1, "{\"ok\":true}");
        ahead += 1;
        tick();
        if (strstr(fake.couriers[1].sent, "connections") != NULL && fake.couriers[1].out) return;
    }
    fake.couriers[1].sent[0] = '\0';
}

#define LET_IN(name) "{\"ok\":true,\"as_of\":\"5\",\"grants\":[[\"own/" name "/#\",3]]}"

/* Pointers are Mosquitto's; client ids come and go under them. */
static void check_presence(void)
{
    struct mosquitto old = {.id = "p1", .username = "alice"}, new = {.id = "p1", .username = "alice"};
    struct mosquitto service = {.id = "p1", .username = "~takeover"}, refused = {.id = "p2", .username = "bob"};
    int before;

    settle();
    hooks_answer(200, LET_IN("p1"));
    CHECK(log_in(&old, "alice", "pw") == BROKER_SUCCESS, "in");
    settle();
    CHECK(told("p1", true), "connected");
    CHECK(log_in(&new, "alice", "pw") == BROKER_SUCCESS, "taken over");
    CHECK(check_access(&old, "own/p1/gone", 2) == BROKER_SUCCESS, "the old one's will, under its own pointer");
    disconnect(&old);
    settle();
    CHECK(told("p1", true), "the new one is connected, and the old one's end is no end");
    CHECK(check_access(&old, "own/p1/x", 1) == BROKER_SUCCESS, "a session without a connection is read with its pointer");
    before = fake.questions;
    CHECK(log_in(&service, "~takeover", "pw") == BROKER_AUTH, "who may be here is not taken over");
    CHECK(fake.questions == before, "and the hooks are not asked");
    new.id = NULL;
    disconnect(&new);
    settle();
    CHECK(told("p1", false), "refused after all: its id is gone, and it is known by its pointer");
    CHECK(log_in(&service, "~takeover", "pw") == BROKER_SUCCESS, "nobody is connected");
    disconnect(&service);
    settle();
    CHECK(!told("p1", true) && !told("p1", false), "our services are nobody's devices");
    hooks_answer(403, "");
    CHECK(log_in(&refused, "bob", "pw") == BROKER_AUTH, "refused");
    refused.id = NULL;
    disconnect(&refused);
    settle();
    CHECK(!told("p2", true) && !told("p2", false), "never was here");
    new.id = "p1";
    hooks_answer(200, LET_IN("p1"));
    CHECK(log_in(&new, "alice", "pw") == BROKER_SUCCESS, "in");
    settle();
    new.id = "p3";
    hooks_answer(200, LET_IN("p3"));
    CHECK(log_in(&new, "alice", "pw") == BROKER_SUCCESS, "somebody else under its pointer");
    settle();
    CHECK(told("p1", false) && told("p3", true), "so it is gone");
    disconnect(&new);
    settle();
    ahead = 0;
}

int main(void)
{
    const int descriptor = mkstemp(path);

    CHECK(descriptor >= 0 && close(descriptor) == 0, "mkstemp");
    write_secret("first\n");
    check_version();
    check_start();
    hooks_answer(403, "");
    CHECK(start() == BROKER_SUCCESS, "start");
    check_logins();
    check_accesses();
    check_grants();
    check_silence();
    check_presence();
    check_reload_window();
    check_new_secret();
    stop();
    CHECK(unlink(path) == 0, "unlink");
    DONE();
    return 0;
}
