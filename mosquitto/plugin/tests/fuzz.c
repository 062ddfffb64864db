/* What the hooks answer, as an enemy would: the readers of verdicts, grants and the feed under the sanitizers.
 *
 *   fuzz SECONDS [SEED]   mutates its seeds; keeps an input that reaches code that none has reached (gcc's trace-pc)
 *   fuzz FILE...          reads each once: a finding, again
 *
 * A finding is written to "fuzz-crash" beside the sanitizer's report. */
#include <cjson/cJSON.h>
#include <signal.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "check.h"
#include "fakes.h"
#include "feed.h"
#include "grants.h"

#define LONGEST 4096
#define KEPT 4096
#define EDGES 65536

enum { LISTENER, ERRAND };

struct input {
    unsigned char bytes[LONGEST];
    size_t length;
};

static struct input corpus[KEPT];
static size_t kept;
static struct input current;
static unsigned char reached[EDGES];
static bool is_new, is_done;
static uint64_t state;
static char secret_path[] = "/tmp/fuzz-secret-XXXXXX";

void __sanitizer_cov_trace_pc(void);

/* Called by every block of the code under test, which alone is compiled with -fsanitize-coverage=trace-pc. */
void __sanitizer_cov_trace_pc(void)
{
    const size_t place = ((uintptr_t)__builtin_return_address(0) >> 1) % EDGES;

    if (reached[place] == 0) is_new = true;
    reached[place] = 1;
}

static size_t chance(size_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (size_t)(state % limit);
}

static const char *const seeds[] = {
    "{\"ok\":true}",
    "{\"ok\":false,\"error\":\"not authorised\"}",
    "{\"ok\":true,\"as_of\":\"18446744073709551615\",\"grants\":[[\"prov/v1/c1/reply\",5],[\"$EDC/p/+/#\",7],[\"a\",2]]}",
    "{\"ok\":true,\"position\":\"10:10:\",\"as_of\":\"10\",\"lost\":false,\"changes\":[[\"user\",\"alice\"],[\"client\",\"c1\"]]}",
    "{\"ok\":true,\"position\":\"9:9:8,9\",\"as_of\":\"9\",\"lost\":true,\"changes\":[[\"broker\",\"b1\"],[\"account\",\"7\"]]}",
    "{\"ok\":true,\"clients\":[{\"ok\":true,\"as_of\":\"11\",\"grants\":[[\"own/c1/#\",7]]},{\"ok\":false}]}",
    "{\"ok\":true,\"clients\":[{\"ok\":null},{\"ok\":true,\"as_of\":\"12\",\"grants\":[]}]}",
};

static const char *const words[] = {
    "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", "\\udc00", "\\u006f", "null", "true", "false", "\"ok\"",
    "\"grants\"", "\"as_of\"", "\"clients\"", "\"changes\"", "\"position\"", "\"lost\"", "1e999", "-0", "99999999999999999999",
    "2147483648", "+", "#", "/", "$", "\xff", "\xed\xa0\x80", "\xf0\x9f\x98\x80", "\x01", "[[[[[[[[", "]]]]]]]]",
};

static void put(size_t at, const void *bytes, size_t length)
{
    if (current.length + length > LONGEST) return;
    memmove(current.bytes + at + length, current.bytes + at, current.length - at);
    memcpy(current.bytes + at, bytes, length);
    current.length += length;
}

static void cut(size_t at, size_t length)
{
    if (length > current.length - at) length = current.length - at;
    memmove(current.bytes + at, current.bytes + at + length, current.length - at - length);
    current.length -= length;
}

static void change_once(void)
{
    const size_t at = chance(current.length + 1);
    const struct input *other = &corpus[chance(kept)];
    const unsigned char byte = (unsigned char)chance(256);
    size_t from;

    switch (chance(6)) {
    case 0: put(at, &byte, 1); break;
    case 1: cut(at, 1 + chance(1 + chance(40))); break;
    case 2: if (at < current.length) current.bytes[at] ^= (unsigned char)(1U << chance(8)); break;
    case 3: {
        const char *word = words[chance(COUNT(words))];
        put(at, word, strlen(word));
        break;
    }
    case 4:
        if (other->length == 0) break;
        from = chance(other->length);
        put(at, other->bytes + from, 1 + chance(other->length - from));
        break;
    default: current.length = at; break;
    }
}

/* On the heap and no byte longer, so that a step over the end is seen. */
static char *copy_current(bool ends)
{
    char *copy = malloc(current.length + (ends || current.length == 0));

    CHECK(copy != NULL, "memory");
    memcpy(copy, current.bytes, current.length);
    if (ends) copy[current.length] = '\0';
    return copy;
}

static void read_answer(void)
{
    static const long statuses[] = {200, 200, 200, 403, 401, 503, 204, 0};
    char *copy = copy_current(false);
    const char *why = NULL;
    const long status = statuses[chance(COUNT(statuses))];
    const enum verdict verdict = answer_verdict(status, copy, current.length, &why);
    cJSON *document;
    uint64_t as_of;

    CHECK((verdict == VERDICT_ERROR) == (why != NULL), "a reason");
    CHECK(verdict != VERDICT_ALLOWED || status == 200, "let in without 200");
    document = answer_document(200, copy, current.length, &why);
    if (document != NULL) {
        struct grants *grants = answer_grants(document, &as_of);

        for (int acc = -1; grants != NULL && acc < 9; acc++) {
            const char *refused = grants_refuse(grants, acc, "a/b");
            CHECK(refused == NULL ? acc == 1 || acc == 2 || acc == 4 : refused[0] != '\0', "an unknown access");
        }
        grants_free(grants);
    }
    cJSON_Delete(document);
    free(copy);
}

static void answer(struct feed *feed, int courier, const char *body, int64_t now)
{
    if (!fake.couriers[courier].out) return;
    fake.couriers[courier].back = true;
    fake.couriers[courier].status = 200;
    fake.couriers[courier].body = body;
    feed_hear(feed, now);
}

/* Two clients that are there; changes of both; then the input as changes and as clients. */
static void read_feed(void)
{
    static const struct identity alice = {"c1", "alice", "pw"}, bob = {"c2", "bob", "pw"};
    static const char places[2] = {0, 0};
    const struct options options = {.broker = (char[]){"b1"}, .secret_file = secret_path, .timeout_ms = 100, .grants = true};
    char why[256] = "";
    struct sessions *sessions = sessions_new(10);
    struct feed *feed = feed_new(&options, sessions, 0, why, sizeof why);
    char *copy = copy_current(true), *revoked;

    CHECK(feed != NULL, why);
    CHECK(sessions_admit(sessions, &places[0], &alice, NULL) && sessions_admit(sessions, &places[1], &bob, NULL), "two");
    feed_ask(feed, 1000);
    answer(feed, LISTENER, seeds[3], 1000);
    feed_ask(feed, 2000);
    answer(feed, LISTENER, copy, 2000);
    feed_ask(feed, 3000);
    answer(feed, ERRAND, copy, 3000);
    feed_ask(feed, 4000);
    answer(feed, ERRAND, copy, 4000);
    while ((revoked = feed_next_revoked(feed)) != NULL) free(revoked);
    feed_free(feed);
    sessions_free(sessions);
    free(copy);
}

static void run(void)
{
    is_new = false;
    read_answer();
    read_feed();
}

static void keep(void)
{
    if (kept < KEPT) corpus[kept++] = current;
}

const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void) { return "abort_on_error=1"; }
const char *__ubsan_default_options(void) { return "abort_on_error=1"; }

/* A CHECK that fails ends the program, a sanitizer aborts it. */
static void write_finding(void)
{
    FILE *file = is_done ? NULL : fopen("fuzz-crash", "wb");

    if (file == NULL) return;
    (void)fwrite(current.bytes, 1, current.length, file);
    (void)fclose(file);
}

static void note_abort(int number)
{
    write_finding();
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void read_file(const char *path)
{
    FILE *file = fopen(path, "rb");

    CHECK(file != NULL, path);
    current.length = fread(current.bytes, 1, LONGEST, file);
    (void)fclose(file);
    run();
}

static void mutate_for(double seconds)
{
    const time_t end = time(NULL) + (time_t)seconds;
    size_t runs = 0;

    for (size_t i = 0; i < COUNT(seeds); i++) {
        current.length = strlen(seeds[i]);
        memcpy(current.bytes, seeds[i], current.length);
        run();
        keep();
    }
    while (time(NULL) < end) {
        current = corpus[chance(kept)];
        for (size_t i = 1 + chance(6); i > 0; i--) change_once();
        run();
        if (is_new) keep();
        runs++;
    }
    printf("fuzz: %zu inputs, %zu kept\n", runs, kept);
}

int main(int count, char **arguments)
{
    const int descriptor = mkstemp(secret_path);
    char *end = NULL;
    double seconds;

    CHECK(descriptor >= 0 && write(descriptor, "secret\n", 7) == 7 && close(descriptor) == 0, "secret");
        CHECK(count > 1, "fuzz SECONDS [SEED], or fuzz FILE...");
    (void)signal(SIGABRT, note_abort);
    CHECK(atexit(write_finding) == 0, "atexit");
    seconds = strtod(arguments[1], &end);
    state = count > 2 ? strtoull(arguments[2], NULL, 10) * 2 + 1 : 88172645463325252ULL;
    if (*end == '\0') mutate_for(seconds);
    else for (int i = 1; i < count; i++) read_file(arguments[i]);
    is_done = true;
    (void)unlink(secret_path);
    return 0;
}
