#include "hooks.h"

#include <cjson/cJSON.h>
#include <mosquitto_broker.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "broker.h"
#include "http.h"
#include "secret.h"
#include "trouble.h"

#define ANSWER_MAX 65536

struct hooks {
    struct http *http;
    struct trouble trouble;
};

struct hooks *hooks_new(const struct options *options, char *why, size_t why_size)
{
    char *secret = secret_read(options->secret_file, why, why_size);
    struct hooks *hooks;

    if (secret == NULL) return NULL;
    hooks = calloc(1, sizeof *hooks);
    if (hooks != NULL) hooks->http = http_new(options, secret, ANSWER_MAX, why, why_size);
    else (void)snprintf(why, why_size, "out of memory");
    secret_free(secret);
    if (hooks != NULL && hooks->http != NULL) return hooks;
    free(hooks);
    return NULL;
}

void hooks_free(struct hooks *hooks)
{
    if (hooks == NULL) return;
    http_free(hooks->http);
    free(hooks);
}

/* Never with a client id or a username in it: those come from strangers and could forge lines. */
static void log_trouble(struct hooks *hooks, const char *what, const char *why)
{
    struct timespec now = {0};
    unsigned long unwritten = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock; a zero would only cost log lines */
    if (!trouble_is_written(&hooks->trouble, now.tv_sec, &unwritten)) return;
    mosquitto_log_printf(BROKER_LOG_ERROR, "provisioning: %s: %s (%lu not shown before this)", what, why, unwritten);
}

static void read_admission(const struct http_reply *reply, struct admission *admission)
{
    const char *why;
    cJSON *document = answer_document(reply->status, reply->body, reply->length, &why);

    if (document != NULL) admission->grants = answer_grants(document, &admission->as_of);
    cJSON_Delete(document);
}

/* Asks the hooks and frees the question. */
static enum verdict ask(struct hooks *hooks, enum http_route route, const char *what, struct question *question,
                        struct admission *admission)
{
    struct http_reply reply = {0};
    enum verdict verdict = VERDICT_ERROR;
    const char *why = http_ask(hooks->http, route, question->text, question->length, &reply);

    question_free(question);
    if (why == NULL) verdict = answer_verdict(reply.status, reply.body, reply.length, &why);
    if (verdict == VERDICT_ERROR) log_trouble(hooks, what, why);
    if (verdict == VERDICT_ALLOWED && admission != NULL) read_admission(&reply, admission);
    return verdict;
}

enum verdict hooks_ask_login(struct hooks *hooks, const struct login *login, struct admission *admission)
{
    struct question question;

    *admission = (struct admission){0};
    switch (question_login(&question, login)) {
    case QUESTION_READY: return ask(hooks, HTTP_ROUTE_USER, "login", &question, login->grants ? admission : NULL);
    case QUESTION_NOT_TEXT: return VERDICT_DENIED;
    default: log_trouble(hooks, "login", "out of memory"); return VERDICT_ERROR;
    }
}

enum verdict hooks_ask_access(struct hooks *hooks, const struct access *access)
{
    struct question question;

    switch (question_access(&question, access)) {
    case QUESTION_READY: return ask(hooks, HTTP_ROUTE_ACL, "access", &question, NULL);
    case QUESTION_NOT_TEXT: return VERDICT_DENIED;
    default: log_trouble(hooks, "access", "out of memory"); return VERDICT_ERROR;
    }
}

/* Mosquitto ignores SIGPIPE too, but only after it has loaded its plugins, and OpenSSL writes without MSG_NOSIGNAL. */
static const char *ask_while_loading(struct hooks *hooks, const struct question *question, struct http_reply *reply)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction before;
    const char *why;

    if (sigaction(SIGPIPE, &ignore, &before) != 0) return "SIGPIPE cannot be ignored";
    why = http_ask(hooks->http, HTTP_ROUTE_SUPERUSER, question->text, question->length, reply);
    if (sigaction(SIGPIPE, &before, NULL) != 0) return "SIGPIPE cannot be restored";
    return why;
}

/* false if the broker must not start. A wrong name or secret would turn away every device, so it is better found now.
 * Hooks that are away are no reason to stay down: brokers and hooks start in any order. */
static bool is_good_probe(const char *why, long status)
{
    if (why != NULL) {
        mosquitto_log_printf(BROKER_LOG_WARNING, "provisioning: hooks not reachable: %s", why);
    } else if (status == 401) {
        mosquitto_log_printf(BROKER_LOG_ERROR, "provisioning: the hooks answer 401: wrong plugin_opt_broker, or wrong "
                                               "secret in plugin_opt_secret_file");
        return false;
    } else if (status != 403) {
        mosquitto_log_printf(BROKER_LOG_WARNING,
                             "provisioning: %ld where the hooks answer 403: is plugin_opt_url right?", status);
    }
    return true;
}

/* Asks one question whose answer is known: nobody is a superuser. */
bool hooks_know_us(struct hooks *hooks)
{
    struct http_reply reply = {0};
    struct question question;
    const char *why;

    if (question_probe(&question, "~probe") != QUESTION_READY) {
        mosquitto_log_printf(BROKER_LOG_ERROR, "provisioning: out of memory");
        return false;
    }
    why = ask_while_loading(hooks, &question, &reply);
    question_free(&question);
    return is_good_probe(why, reply.status);
}

void hooks_read_secret(struct hooks *hooks, const char *path)
{
    char why[256];
    char *secret = secret_read(path, why, sizeof why);

    if (secret == NULL) {
        mosquitto_log_printf(BROKER_LOG_ERROR, "provisioning: %s; the old secret stays in use", why);
        return;
    }
    if (http_set_secret(hooks->http, secret)) {
        mosquitto_log_printf(BROKER_LOG_NOTICE, "provisioning: the secret was read again");
    } else {
        mosquitto_log_printf(BROKER_LOG_ERROR, "provisioning: out of memory; the old secret stays in use");
    }
    secret_free(secret);
}
