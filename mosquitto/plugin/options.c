#include "options.h"

#include <curl/curl.h>
#include <mosquitto_broker.h> /* mosquitto_plugin.h does not compile without it */
#include <mosquitto_plugin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_DEFAULT_MS 2000
#define TIMEOUT_MAX_MS 10000
#define BROKER_NAME_MAX 255

/* Sets one option from its value; returns NULL or the rule that the value breaks. */
typedef const char *(*option_setter)(struct options *options, const char *value);

static const char *keep(char **place, const char *value)
{
    *place = strdup(value);
    return *place != NULL ? NULL : "out of memory";
}

static bool is_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    const bool found = curl_url_get(url, part, &text, 0) == CURLUE_OK;

    curl_free(text);
    return found;
}

/* Where the host begins, or NULL: libcurl alone would also take "http:/host", "http:///host" and a bare name. */
static const char *after_scheme(const char *value)
{
    const char *host = NULL;

    if (strncmp(value, "http://", 7) == 0) host = value + 7;
    if (strncmp(value, "https://", 8) == 0) host = value + 8;
    return host != NULL && host[0] != '/' ? host : NULL;
}

/* libcurl's own parser, so that what is checked here is what will be asked later. */
static bool is_base_url(const char *value)
{
    CURLU *url;
    bool good;

    if (after_scheme(value) == NULL) return false;
    url = curl_url();
    if (url == NULL) return false;
    good = curl_url_set(url, CURLUPART_URL, value, CURLU_DISALLOW_USER) == CURLUE_OK
        && !is_part(url, CURLUPART_QUERY) && !is_part(url, CURLUPART_FRAGMENT);
    curl_url_cleanup(url);
    return good;
}

static const char *set_url(struct options *options, const char *value)
{
    const char *failure;
    size_t length;

    if (!is_base_url(value)) {
        return "must be http://host:port or https://host:port, without user, query or fragment";
    }
    failure = keep(&options->url, value);
    if (failure != NULL) return failure;
    length = strlen(options->url);
    while (options->url[length - 1] == '/') options->url[--length] = '\0';
    return NULL;
}

static const char *set_broker(struct options *options, const char *value)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const size_t length = strlen(value);

    /* A colon would end the name inside HTTP Basic, RFC 7617 section 2. */
    if (length == 0 || length > BROKER_NAME_MAX || strspn(value, allowed) != length) {
        return "must be 1 to 255 letters, digits, dots, underscores and hyphens";
    }
    return keep(&options->broker, value);
}

static const char *set_secret_file(struct options *options, const char *value)
{
    return value[0] != '\0' ? keep(&options->secret_file, value) : "must be the path of a file";
}

static const char *set_ca_file(struct options *options, const char *value)
{
    return value[0] != '\0' ? keep(&options->ca_file, value) : "must be the path of a file";
}

static const char *set_timeout_ms(struct options *options, const char *value)
{
    static const char rule[] = "must be a whole number from 1 to 10000";
    const size_t length = strlen(value);

    if (length == 0 || length > 5 || strspn(value, "0123456789") != length) return rule;
    options->timeout_ms = strtol(value, NULL, 10);
    return options->timeout_ms >= 1 && options->timeout_ms <= TIMEOUT_MAX_MS ? NULL : rule;
}

static const char *set_grants(struct options *options, const char *value)
{
    options->grants = strcmp(value, "on") == 0;
    return options->grants || strcmp(value, "off") == 0 ? NULL : "must be on or off";
}

static const struct {
    const char *name;
    option_setter set;
    bool mandatory;
} known[] = {
    {"url", set_url, true},
    {"broker", set_broker, true},
    {"secret_file", set_secret_file, true},
    {"timeout_ms", set_timeout_ms, false},
    {"ca_file", set_ca_file, false},
    {"grants", set_grants, false},
};
#define KNOWN_COUNT (sizeof known / sizeof known[0])

static size_t find(const char *name)
{
    size_t i = 0;

    while (i < KNOWN_COUNT && strcmp(known[i].name, name) != 0) i++;
    return i;
}

static bool refuse(char *why, size_t why_size, const char *name, const char *rule)
{
    (void)snprintf(why, why_size, "plugin_opt_%s: %s", name, rule);
    return false;
}

/* One line of the configuration; *seen has a bit for every option met so far. */
static bool read_one(struct options *options, const struct mosquitto_opt *line, uint32_t *seen, char *why,
                     size_t why_size)
{
    const char *name = line->key != NULL ? line->key : "";
    const size_t i = find(name);
    const char *broken;

    if (i == KNOWN_COUNT) return refuse(why, why_size, name, "no such option");
    if ((*seen & (1U << i)) != 0) return refuse(why, why_size, name, "given more than once");
    *seen |= 1U << i;
    broken = known[i].set(options, line->value != NULL ? line->value : "");
    return broken == NULL || refuse(why, why_size, name, broken);
}

static bool is_complete(const struct options *options, uint32_t seen, char *why, size_t why_size)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (known[i].mandatory && (seen & (1U << i)) == 0) return refuse(why, why_size, known[i].name, "is missing");
    }
    if (options->ca_file != NULL && strncmp(options->url, "https://", 8) != 0) {
        return refuse(why, why_size, "ca_file", "is of use only with an https url");
    }
    return true;
}

bool options_read(struct options *options, const struct mosquitto_opt *list, int count, char *why, size_t why_size)
{
    uint32_t seen = 0;
    bool good = true;

    *options = (struct options){.timeout_ms = TIMEOUT_DEFAULT_MS, .grants = true};
    for (int i = 0; good && i < count; i++) good = read_one(options, &list[i], &seen, why, why_size);
    good = good && is_complete(options, seen, why, why_size);
    if (!good) options_free(options);
    return good;
}

void options_free(struct options *options)
{
    free(options->url);
    free(options->broker);
    free(options->secret_file);
    free(options->ca_file);
    *options = (struct options){0};
}
