#include "answer.h"

#include "check.h"

static const struct {
    long status;
    enum verdict verdict;
} statuses[] = {
    {200, VERDICT_ALLOWED}, /* with {"ok":true}, as are all of these */
    {201, VERDICT_ERROR},  {202, VERDICT_ERROR},  {204, VERDICT_ERROR},  {206, VERDICT_ERROR},
    {299, VERDICT_ERROR},  {300, VERDICT_ERROR},  {301, VERDICT_ERROR},  {302, VERDICT_ERROR},
    {304, VERDICT_ERROR},  {307, VERDICT_ERROR},  {308, VERDICT_ERROR},  {399, VERDICT_ERROR},
    {400, VERDICT_DENIED}, {401, VERDICT_ERROR},  {402, VERDICT_DENIED}, {403, VERDICT_DENIED},
    {404, VERDICT_ERROR},  {405, VERDICT_ERROR},  {407, VERDICT_ERROR},  {408, VERDICT_ERROR},
    {409, VERDICT_DENIED}, {413, VERDICT_DENIED}, {422, VERDICT_DENIED}, {429, VERDICT_ERROR},
    {499, VERDICT_DENIED}, {500, VERDICT_ERROR},  {502, VERDICT_ERROR},  {503, VERDICT_ERROR},
    {504, VERDICT_ERROR},  {599, VERDICT_ERROR},  {600, VERDICT_ERROR},  {999, VERDICT_ERROR},
    {0, VERDICT_ERROR},    {100, VERDICT_ERROR},  {199, VERDICT_ERROR},  {-1, VERDICT_ERROR},
};

/* A literal with its length, so that a NUL may stand in it. */
#define BODY(text) (text), sizeof(text) - 1

static const struct {
    const char *name;
    const char *body;
    size_t length;
    enum verdict verdict;
} bodies[] = {
    {"plain yes", BODY("{\"ok\":true}"), VERDICT_ALLOWED},
    {"with spaces", BODY(" \t\r\n{ \"ok\" : true } \r\n\t "), VERDICT_ALLOWED},
    {"with more members", BODY("{\"a\":[1,{\"ok\":false}],\"ok\":true,\"error\":\"\"}"), VERDICT_ALLOWED},
    {"name written with an escape", BODY("{\"\\u006fk\":true}"), VERDICT_ALLOWED},
    {"plain no", BODY("{\"ok\":false,\"error\":\"not authorised\"}"), VERDICT_DENIED},
    {"no member", BODY("{}"), VERDICT_DENIED},
    {"null", BODY("null"), VERDICT_DENIED},
    {"ok is null", BODY("{\"ok\":null}"), VERDICT_DENIED},
    {"only inside another member", BODY("{\"a\":{\"ok\":true}}"), VERDICT_DENIED},
    {"a longer name", BODY("{\"okay\":true}"), VERDICT_DENIED},
    {"an empty name", BODY("{\"\":true}"), VERDICT_DENIED},

    {"no body", BODY(""), VERDICT_ERROR},
    {"spaces alone", BODY("  \n"), VERDICT_ERROR},
    {"not JSON", BODY("ok"), VERDICT_ERROR},
    {"HTML", BODY("<html>{\"ok\":true}</html>"), VERDICT_ERROR},
    {"true", BODY("true"), VERDICT_ERROR},
    {"a number", BODY("1"), VERDICT_ERROR},
    {"a string", BODY("\"ok\""), VERDICT_ERROR},
    {"a list", BODY("[{\"ok\":true}]"), VERDICT_ERROR},
    {"ok is a string", BODY("{\"ok\":\"true\"}"), VERDICT_ERROR},
    {"ok is a number", BODY("{\"ok\":1}"), VERDICT_ERROR},
    {"ok is a list", BODY("{\"ok\":[true]}"), VERDICT_ERROR},
    {"ok is an object", BODY("{\"ok\":{\"ok\":true}}"), VERDICT_ERROR},
    {"no, then yes", BODY("{\"ok\":false,\"ok\":true}"), VERDICT_ERROR},
    {"yes, then no", BODY("{\"ok\":true,\"ok\":false}"), VERDICT_ERROR},
    {"yes twice", BODY("{\"ok\":true,\"ok\":true}"), VERDICT_ERROR},
    {"no, then an escaped yes", BODY("{\"ok\":false,\"\\u006f\\u006b\":true}"), VERDICT_ERROR},
    {"capitals", BODY("{\"OK\":true}"), VERDICT_ERROR},
    {"one capital", BODY("{\"Ok\":true}"), VERDICT_ERROR},
    {"no, then capitals", BODY("{\"ok\":false,\"OK\":true}"), VERDICT_ERROR},
    {"True", BODY("{\"ok\":True}"), VERDICT_ERROR},
    {"trueish", BODY("{\"ok\":trueish}"), VERDICT_ERROR},
    {"unquoted name", BODY("{ok:true}"), VERDICT_ERROR},
    {"single quotes", BODY("{'ok':true}"), VERDICT_ERROR},
    {"cut in the value", BODY("{\"ok\":tru"), VERDICT_ERROR},
    {"cut before the end", BODY("{\"ok\":true"), VERDICT_ERROR},
    {"cut in a string", BODY("{\"ok\":true,\"a\":\"b"), VERDICT_ERROR},
    {"cut in an escape", BODY("{\"ok\":true,\"a\":\"\\u00"), VERDICT_ERROR},
    {"comma at the end", BODY("{\"ok\":true,}"), VERDICT_ERROR},
    {"a comment", BODY("{\"ok\":true/**/}"), VERDICT_ERROR},
    {"garbage behind it", BODY("{\"ok\":true}x"), VERDICT_ERROR},
    {"another object behind it", BODY("{\"ok\":true}{\"ok\":false}"), VERDICT_ERROR},
    {"a brace behind it", BODY("{\"ok\":true}}"), VERDICT_ERROR},
    {"a NUL behind it", BODY("{\"ok\":true}\0"), VERDICT_ERROR},
    {"a NUL and more behind it", BODY("{\"ok\":true}\0{\"ok\":false}"), VERDICT_ERROR},
    {"a NUL inside", BODY("{\"ok\":\0true}"), VERDICT_ERROR},
    {"a NUL in the name", BODY("{\"ok\0x\":true}"), VERDICT_ERROR},
    {"an escaped NUL in the name", BODY("{\"ok\\u0000x\":true}"), VERDICT_ERROR},
    {"a control character as a space", BODY("{\"ok\":\x01true}"), VERDICT_ERROR},
    {"a control character in a string", BODY("{\"ok\":true,\"a\":\"\x1b\"}"), VERDICT_ERROR},
    {"form feed as a space", BODY("\f{\"ok\":true}"), VERDICT_ERROR},
    {"a byte order mark", BODY("\xef\xbb\xbf{\"ok\":true}"), VERDICT_ERROR},
    {"not UTF-8", BODY("{\"ok\":true,\"a\":\"\xff\"}"), VERDICT_ERROR},
    {"half a surrogate pair", BODY("{\"ok\":true,\"a\":\"\\ud800\"}"), VERDICT_ERROR},
    {"the other half", BODY("{\"ok\":true,\"a\":\"\\udc00\"}"), VERDICT_ERROR},
    {"a number beyond any double", BODY("{\"ok\":true,\"a\":1e999999}"), VERDICT_ALLOWED},
    {"NaN", BODY("{\"ok\":true,\"a\":NaN}"), VERDICT_ERROR},
    {"Infinity", BODY("{\"ok\":true,\"a\":-Infinity}"), VERDICT_ERROR},
    {"a form", BODY("ok=true"), VERDICT_ERROR},
};

/* On the heap and no byte longer, so that AddressSanitizer sees a step over the end. */
static enum verdict judge(long status, const char *body, size_t length, const char *name)
{
    char *copy = malloc(length + (length == 0));
    const char *why = NULL;
    enum verdict verdict;

    CHECK(copy != NULL, name);
    memcpy(copy, body, length);
    verdict = answer_verdict(status, copy, length, &why);
    CHECK((verdict == VERDICT_ERROR) == (why != NULL), name);
    free(copy);
    return verdict;
}

/* {"a":[[[...]]],"ok":true} */
static enum verdict judge_deep(size_t depth)
{
    char *body = malloc(2 * depth + 32);
    size_t length;
    enum verdict verdict;

    CHECK(body != NULL, "memory");
    length = (size_t)sprintf(body, "{\"a\":");
    memset(body + length, '[', depth);
    memset(body + length + depth, ']', depth);
    length += 2 * depth;
    length += (size_t)sprintf(body + length, ",\"ok\":true}");
    verdict = judge(200, body, length, "deep");
    free(body);
    return verdict;
}

static enum verdict judge_long_number(void)
{
    char body[5100];
    size_t length = (size_t)sprintf(body, "{\"ok\":true,\"a\":");

    memset(body + length, '9', 5000);
    length += 5000;
    body[length++] = '}';
    return judge(200, body, length, "5,000 digits");
}

/* Every beginning of a good answer is no answer. */
static void check_cuts(void)
{
    static const char whole[] = "{\"ok\":true,\"error\":\"\\u00e9\",\"n\":[1.5e3,null]}";

    for (size_t length = 0; length < sizeof whole - 1; length++) {
        CHECK(judge(200, whole, length, "cut") == VERDICT_ERROR, "cut");
    }
    CHECK(judge(200, whole, sizeof whole - 1, "whole") == VERDICT_ALLOWED, "whole");
}

/* No single changed byte turns a no into a yes. */
static void check_changed_bytes(void)
{
    static const char no[] = "{\"ok\":false}";
    char body[sizeof no];

    for (size_t i = 0; i < sizeof no - 1; i++) {
        for (int byte = 0; byte < 256; byte++) {
            memcpy(body, no, sizeof no);
            body[i] = (char)byte;
            CHECK(judge(200, body, sizeof no - 1, "changed") != VERDICT_ALLOWED, "changed");
        }
    }
}

int main(void)
{
    for (size_t i = 0; i < COUNT(statuses); i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%ld", statuses[i].status);
        CHECK(judge(statuses[i].status, BODY("{\"ok\":true}"), name) == statuses[i].verdict, name);
    }
    for (size_t i = 0; i < COUNT(bodies); i++) {
        CHECK(judge(200, bodies[i].body, bodies[i].length, bodies[i].name) == bodies[i].verdict, bodies[i].name);
        CHECK(judge(500, bodies[i].body, bodies[i].length, bodies[i].name) == VERDICT_ERROR, bodies[i].name);
        CHECK(judge(403, bodies[i].body, bodies[i].length, bodies[i].name) == VERDICT_DENIED, bodies[i].name);
    }
    CHECK(judge_deep(900) == VERDICT_ALLOWED, "as deep as cJSON goes");
    CHECK(judge_deep(1001) == VERDICT_ERROR, "deeper");
    CHECK(judge_deep(30000) == VERDICT_ERROR, "as deep as a body can be");
    /* Older releases of cJSON stop after 63 digits and call it no JSON; that is as good. */
    CHECK(judge_long_number() != VERDICT_DENIED, "5,000 digits");
    check_cuts();
    check_changed_bytes();
    DONE();
    return 0;
}
