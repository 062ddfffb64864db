#include "options.h"

#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>

#include "check.h"

#define MAX_LINES 6
#define URL {"url", "http://127.0.0.1:8081"}
#define BROKER {"broker", "b1"}
#define FILE_LINE {"secret_file", "/s"}

struct line {
    const char *key, *value;
};

static const struct {
    const char *name;
    const char *why; /* part of the message; NULL: accepted */
    struct line lines[MAX_LINES];
} cases[] = {
    {"the least", NULL, {URL, BROKER, FILE_LINE}},
    {"any order", NULL, {FILE_LINE, URL, BROKER}},
    {"everything", NULL, {{"url", "https://h:1/p/"}, BROKER, FILE_LINE, {"timeout_ms", "10000"}, {"ca_file", "/c"}}},
    {"an IPv6 host", NULL, {{"url", "http://[::1]:8081"}, BROKER, FILE_LINE}},
    {"every kind of character in the name", NULL, {URL, {"broker", "A-z_0.9"}, FILE_LINE}},
    {"no line at all", "plugin_opt_url: is missing", {{0}}},
    {"no url", "plugin_opt_url: is missing", {BROKER, FILE_LINE}},
    {"no broker", "plugin_opt_broker: is missing", {URL, FILE_LINE}},
    {"no secret file", "plugin_opt_secret_file: is missing", {URL, BROKER}},
    {"unknown", "plugin_opt_cache: no such option", {URL, BROKER, FILE_LINE, {"cache", "true"}}},
    {"other case", "plugin_opt_URL: no such option", {{"URL", "http://h"}, BROKER, FILE_LINE}},
    {"empty name", "plugin_opt_: no such option", {{"", "x"}}},
    {"repeated", "plugin_opt_broker: given more than once", {URL, BROKER, BROKER, FILE_LINE}},
    {"repeated with another value", "plugin_opt_url: given more than once", {URL, {"url", "http://h"}}},
    {"no scheme", "plugin_opt_url: must be", {{"url", "127.0.0.1:8081"}}},
    {"other scheme", "plugin_opt_url: must be", {{"url", "ftp://h"}}},
    {"file scheme", "plugin_opt_url: must be", {{"url", "file:///etc/passwd"}}},
    {"one slash", "plugin_opt_url: must be", {{"url", "http:/h"}}},
    {"three slashes", "plugin_opt_url: must be", {{"url", "http:///h"}}},
    {"scheme alone", "plugin_opt_url: must be", {{"url", "https://"}}},
    {"user in the url", "plugin_opt_url: must be", {{"url", "http://b:hunter2@h"}}},
    {"query", "plugin_opt_url: must be", {{"url", "http://h/?k=1"}}},
    {"fragment", "plugin_opt_url: must be", {{"url", "http://h/#f"}}},
    {"port too large", "plugin_opt_url: must be", {{"url", "http://h:65536"}}},
    {"space", "plugin_opt_url: must be", {{"url", "http://h h"}}},
    {"line break", "plugin_opt_url: must be", {{"url", "http://h/\r\nX: y"}}},
    {"empty url", "plugin_opt_url: must be", {{"url", ""}}},
    {"url without value", "plugin_opt_url: must be", {{"url", NULL}}},
    {"empty broker", "plugin_opt_broker: must be", {{"broker", ""}}},
    {"colon in the name", "plugin_opt_broker: must be", {{"broker", "a:b"}}},
    {"umlaut in the name", "plugin_opt_broker: must be", {{"broker", "\xc3\xbc"}}},
    {"empty path", "plugin_opt_secret_file: must be", {{"secret_file", ""}}},
    {"empty ca path", "plugin_opt_ca_file: must be", {{"ca_file", ""}}},
    {"ca_file with http", "plugin_opt_ca_file: is of use only", {URL, BROKER, FILE_LINE, {"ca_file", "/c"}}},
    {"no time", "plugin_opt_timeout_ms: must be", {{"timeout_ms", "0"}}},
    {"empty time", "plugin_opt_timeout_ms: must be", {{"timeout_ms", ""}}},
    {"too long", "plugin_opt_timeout_ms: must be", {{"timeout_ms", "10001"}}},
    {"beyond any number", "plugin_opt_timeout_ms: must be", {{"timeout_ms", "99999999999999999999"}}},
    {"negative", "plugin_opt_timeout_ms: must be", {{"timeout_ms", "-1"}}},
    {"plus", "plugin_opt_timeout_ms: must be", {{"timeout_ms", "+1"}}},
    {"unit", "plugin_opt_timeout_ms: must be", {{"timeout_ms", "2s"}}},
    {"fraction", "plugin_opt_timeout_ms: must be", {{"timeout_ms", "1.5"}}},
};

/* Copies the lines, because Mosquitto's are not constant, and leaves the caller to look at the result. */
static bool read_lines(struct options *options, const struct line *lines, char *why, size_t why_size)
{
    struct mosquitto_opt list[MAX_LINES];
    int count = 0;
    bool good;

    while (count < MAX_LINES && lines[count].key != NULL) {
        list[count].key = strdup(lines[count].key);
        list[count].value = lines[count].value != NULL ? strdup(lines[count].value) : NULL;
        count++;
    }
    good = options_read(options, list, count, why, why_size);
    for (int i = 0; i < count; i++) {
        free(list[i].key);
        free(list[i].value);
    }
    return good;
}

static void check_values(void)
{
    static const struct line lines[MAX_LINES] = {
        {"url", "https://h:1/p//"}, BROKER, FILE_LINE, {"timeout_ms", "00001"}, {"ca_file", "/c"}};
    static const struct line least[MAX_LINES] = {URL, BROKER, FILE_LINE};
    struct options options;
    char why[256];

    CHECK(read_lines(&options, lines, why, sizeof why), "values");
    CHECK(strcmp(options.url, "https://h:1/p") == 0, "slashes at the end go");
    CHECK(strcmp(options.broker, "b1") == 0 && strcmp(options.secret_file, "/s") == 0, "values");
    CHECK(strcmp(options.ca_file, "/c") == 0 && options.timeout_ms == 1, "values");
    options_free(&options);
    CHECK(options.url == NULL && options.ca_file == NULL, "nothing is left to free twice");
    CHECK(read_lines(&options, least, why, sizeof why), "defaults");
    CHECK(options.timeout_ms == 2000 && options.ca_file == NULL, "defaults");
    options_free(&options);
}

static void check_long_name(void)
{
    char name[257];
    struct line lines[MAX_LINES] = {URL, FILE_LINE, {"broker", name}};
    struct options options;
    char why[256];

    memset(name, 'b', sizeof name);
    name[256] = '\0';
    CHECK(!read_lines(&options, lines, why, sizeof why), "256 characters");
    name[255] = '\0';
    CHECK(read_lines(&options, lines, why, sizeof why), "255 characters");
    options_free(&options);
}

int main(void)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct options options;
        char why[256] = "";
        const bool good = read_lines(&options, cases[i].lines, why, sizeof why);
        CHECK(good == (cases[i].why == NULL), cases[i].name);
        CHECK(good || strstr(why, cases[i].why) == why, cases[i].name);
        CHECK(strstr(why, "hunter2") == NULL, "a value is never repeated");
        if (good) options_free(&options);
    }
    check_values();
    check_long_name();
    DONE();
    return 0;
}
