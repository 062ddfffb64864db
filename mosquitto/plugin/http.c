#include "http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADERS_MAX 16384
#define ROUTES 6

struct http {
    CURL *curl;
    struct curl_slist *headers;
    char *urls[ROUTES];
    char *body;
    size_t body_max;
    size_t body_length;
    size_t headers_length;
    long timeout_ms;
};

static const char *const paths[ROUTES] = {
    [HTTP_ROUTE_USER] = "/hooks/user",
    [HTTP_ROUTE_ACL] = "/hooks/acl",
    [HTTP_ROUTE_SUPERUSER] = "/hooks/superuser",
    [HTTP_ROUTE_CHANGES] = "/hooks/changes?since=",
    [HTTP_ROUTE_CLIENTS] = "/hooks/clients",
    [HTTP_ROUTE_REPORTS] = "/hooks/reports",
};

/* Returning less than it was given makes libcurl give up with CURLE_WRITE_ERROR. */
static size_t take_body(char *bytes, size_t size, size_t count, void *user)
{
    struct http *http = user;
    const size_t length = size * count; /* size is always 1, CURLOPT_WRITEFUNCTION(3) */

    if (length > http->body_max - http->body_length) return 0;
    memcpy(http->body + http->body_length, bytes, length);
    http->body_length += length;
    return length;
}

/* libcurl 7.88 bounds one header, but not how many there are. */
static size_t count_header(char *bytes, size_t size, size_t count, void *user)
{
    struct http *http = user;
    const size_t length = size * count;

    (void)bytes;
    if (length > HEADERS_MAX - http->headers_length) return 0;
    http->headers_length += length;
    return length;
}

static bool set_long(CURL *curl, CURLoption option, long value)
{
    return curl_easy_setopt(curl, option, value) == CURLE_OK;
}

static bool set_text(CURL *curl, CURLoption option, const char *value)
{
    return curl_easy_setopt(curl, option, value) == CURLE_OK;
}

static bool add_header(struct http *http, const char *header)
{
    struct curl_slist *longer = curl_slist_append(http->headers, header);

    if (longer == NULL) return false;
    http->headers = longer;
    return true;
}

/* "Expect:" with nothing behind it: else libcurl waits up to a second for "100 Continue" before it sends a large
 * body, and the broker waits with it. */
static bool set_headers(struct http *http)
{
    return add_header(http, "Content-Type: application/json") && add_header(http, "Accept: application/json")
        && add_header(http, "Expect:")
        && curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, http->headers) == CURLE_OK
        && set_text(http->curl, CURLOPT_USERAGENT, "mosquitto-provisioning")
        && set_long(http->curl, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1) && set_long(http->curl, CURLOPT_POST, 1);
}

/* Only the address that the administrator wrote is ever asked: no proxy from the environment, no redirect. */
static bool set_reach(struct http *http)
{
    return set_text(http->curl, CURLOPT_PROXY, "") && set_text(http->curl, CURLOPT_NOPROXY, "*")
        && set_text(http->curl, CURLOPT_PROTOCOLS_STR, "http,https")
        && set_long(http->curl, CURLOPT_FOLLOWLOCATION, 0) && set_long(http->curl, CURLOPT_HTTP09_ALLOWED, 0);
}

/* NOSIGNAL: else libcurl times its name lookups by SIGALRM. QUICK_EXIT: else it waits for a lookup that has outlived
 * the time limit; with a silent name server the broker stood still for 10 s instead of 0.5 (measured with 7.88).
 * MAXCONNECTS: a repeated question (see perform) goes out on a new connection. */
static bool set_connection(struct http *http, const struct options *options)
{
    return set_long(http->curl, CURLOPT_MAXCONNECTS, 1) && set_long(http->curl, CURLOPT_TCP_KEEPALIVE, 1)
        && set_long(http->curl, CURLOPT_TCP_NODELAY, 1)
        && set_long(http->curl, CURLOPT_CONNECTTIMEOUT_MS, options->timeout_ms)
        && set_long(http->curl, CURLOPT_NOSIGNAL, 1) && set_long(http->curl, CURLOPT_QUICK_EXIT, 1);
}

/* With a ca_file that file is all that is trusted: CURLOPT_CAPATH would add the system's authorities again. The cache
 * is off so that a renewed file counts at the next connection. */
static bool set_tls(struct http *http, const struct options *options)
{
    const bool good = set_long(http->curl, CURLOPT_SSL_VERIFYPEER, 1) && set_long(http->curl, CURLOPT_SSL_VERIFYHOST, 2)
        && set_long(http->curl, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2)
        && set_long(http->curl, CURLOPT_CA_CACHE_TIMEOUT, 0);

    if (!good || options->ca_file == NULL) return good;
    return set_text(http->curl, CURLOPT_CAINFO, options->ca_file) && set_text(http->curl, CURLOPT_CAPATH, NULL);
}

static bool set_credentials(struct http *http, const struct options *options, const char *secret)
{
    return set_long(http->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC)
        && set_text(http->curl, CURLOPT_USERNAME, options->broker) && http_set_secret(http, secret);
}

static bool set_receivers(struct http *http)
{
    return curl_easy_setopt(http->curl, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK
        && curl_easy_setopt(http->curl, CURLOPT_WRITEDATA, http) == CURLE_OK
        && curl_easy_setopt(http->curl, CURLOPT_HEADERFUNCTION, count_header) == CURLE_OK
        && curl_easy_setopt(http->curl, CURLOPT_HEADERDATA, http) == CURLE_OK;
}

static bool make_urls(struct http *http, const char *base)
{
    for (size_t i = 0; i < ROUTES; i++) {
        const size_t size = strlen(base) + strlen(paths[i]) + 1;
        http->urls[i] = malloc(size);
        if (http->urls[i] == NULL) return false;
        (void)snprintf(http->urls[i], size, "%s%s", base, paths[i]);
    }
    return true;
}

struct http *http_new(const struct options *options, const char *secret, size_t body_max, char *why, size_t why_size)
{
    struct http *http;

    /* Counted by libcurl: other plugins in this process may use it too. */
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        (void)snprintf(why, why_size, "libcurl cannot start");
        return NULL;
    }
    http = calloc(1, sizeof *http);
    if (http == NULL) {
        curl_global_cleanup();
        (void)snprintf(why, why_size, "out of memory");
        return NULL;
    }
    http->timeout_ms = options->timeout_ms;
    http->body_max = body_max;
    http->body = malloc(body_max);
    http->curl = curl_easy_init();
    if (http->curl != NULL && http->body != NULL && make_urls(http, options->url) && set_headers(http) && set_reach(http)
        && set_connection(http, options) && set_tls(http, options) && set_credentials(http, options, secret)
        && set_receivers(http)) {
        return http;
    }
    (void)snprintf(why, why_size, "libcurl does not take the settings that are needed (7.87 or newer, with TLS)");
    http_free(http);
    return NULL;
}

void http_free(struct http *http)
{
    if (http == NULL) return;
    curl_easy_cleanup(http->curl);
    curl_slist_free_all(http->headers);
    for (size_t i = 0; i < ROUTES; i++) free(http->urls[i]);
    free(http->body);
    free(http);
    curl_global_cleanup();
}

bool http_set_secret(struct http *http, const char *secret)
{
    return set_text(http->curl, CURLOPT_PASSWORD, secret);
}

/* Texts of our own: those of libcurl may repeat what the other side sent. */
static const char *trouble_of(CURLcode code)
{
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT: return "no answer in time";
    case CURLE_COULDNT_CONNECT: return "cannot connect";
    case CURLE_COULDNT_RESOLVE_HOST: return "the host's name is not known";
    case CURLE_PEER_FAILED_VERIFICATION: return "the server's certificate is not trusted";
    case CURLE_SSL_CACERT_BADFILE: return "plugin_opt_ca_file cannot be read";
    case CURLE_SSL_CONNECT_ERROR: return "no TLS connection";
    case CURLE_WRITE_ERROR: return "the answer is too large";
    case CURLE_OUT_OF_MEMORY: return "out of memory";
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE: return "the connection broke";
    case CURLE_UNSUPPORTED_PROTOCOL: /* an answer without a status line, as in HTTP/0.9 */
    case CURLE_WEIRD_SERVER_REPLY: return "the answer is not HTTP";
    default: return "libcurl failed";
    }
}

static CURLcode perform_within(struct http *http, long limit_ms)
{
    http->body_length = 0;
    http->headers_length = 0;
    if (!set_long(http->curl, CURLOPT_TIMEOUT_MS, limit_ms)) return CURLE_OUT_OF_MEMORY;
    return curl_easy_perform(http->curl);
}

/* Whether a kept connection broke before the answer began: so it looks when the server closes an idle connection at
 * the moment when the question is written. */
static bool was_closed_meanwhile(const struct http *http, CURLcode code)
{
    long new_connections = -1;

    if (code != CURLE_SEND_ERROR && code != CURLE_RECV_ERROR && code != CURLE_GOT_NOTHING) return false;
    return http->headers_length == 0
        && curl_easy_getinfo(http->curl, CURLINFO_NUM_CONNECTS, &new_connections) == CURLE_OK && new_connections == 0;
}

/* libcurl repeats such a question by itself, but counts over the life of a handle, and every sixth time it fails with
 * CURLE_SEND_ERROR instead (measured with 7.88). Then it is repeated here. Either way
 * that is once, on a new connection, in what is left of the time. */
static CURLcode perform(struct http *http)
{
    const CURLcode code = perform_within(http, http->timeout_ms);
    curl_off_t spent_us = 0;
    long left_ms;

    if (!was_closed_meanwhile(http, code)) return code;
    if (curl_easy_getinfo(http->curl, CURLINFO_TOTAL_TIME_T, &spent_us) != CURLE_OK) return code;
    left_ms = http->timeout_ms - (long)(spent_us / 1000);
    return left_ms > 0 ? perform_within(http, left_ms) : code; /* a limit of 0 would be none */
}

/* Anything but 0 makes libcurl give up with CURLE_ABORTED_BY_CALLBACK. */
static int is_stopped(void *user, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up)
{
    const atomic_bool *stop = user;

    (void)total;
    (void)now;
    (void)up_total;
    (void)up;
    return atomic_load(stop) ? 1 : 0;
}

bool http_stop_when(struct http *http, atomic_bool *stop)
{
    return curl_easy_setopt(http->curl, CURLOPT_XFERINFOFUNCTION, is_stopped) == CURLE_OK
        && curl_easy_setopt(http->curl, CURLOPT_XFERINFODATA, stop) == CURLE_OK
        && set_long(http->curl, CURLOPT_NOPROGRESS, 0);
}

static bool set_post(struct http *http, enum http_route route, const char *body, size_t length)
{
    return set_long(http->curl, CURLOPT_POST, 1) && set_text(http->curl, CURLOPT_URL, http->urls[route])
        && curl_easy_setopt(http->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length) == CURLE_OK
        && set_text(http->curl, CURLOPT_POSTFIELDS, body);
}

static bool set_get(struct http *http, enum http_route route, const char *query)
{
    const size_t size = strlen(http->urls[route]) + strlen(query) + 1;
    char *url = malloc(size);
    bool good;

    if (url == NULL) return false;
    (void)snprintf(url, size, "%s%s", http->urls[route], query);
    good = set_long(http->curl, CURLOPT_HTTPGET, 1) && set_text(http->curl, CURLOPT_URL, url); /* libcurl copies it */
    free(url);
    return good;
}

const char *http_ask(struct http *http, enum http_route route, const char *body, size_t length,
                     struct http_reply *reply)
{
    CURLcode code;

    if (!(route == HTTP_ROUTE_CHANGES ? set_get(http, route, body) : set_post(http, route, body, length))) {
        return "out of memory";
    }
    code = perform(http);
    (void)curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, NULL); /* the body is the caller's and goes away */
    if (code != CURLE_OK) return trouble_of(code);
    reply->status = 0;
    if (curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &reply->status) != CURLE_OK) return "libcurl failed";
    reply->body = http->body;
    reply->length = http->body_length;
    return NULL;
}
