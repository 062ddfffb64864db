/* What Mosquitto calls: start, stop and the five events. Everything else is in the other files.
 *
 * Mosquitto has one thread, and it waits while a callback runs. So there is nothing to lock here, and whatever is
 * slow here is slow for every client. */
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stdlib.h>
#include <string.h>

#include "broker.h"
#include "hooks.h"
#include "options.h"
#include "sessions.h"

#define EXPORT __attribute__((visibility("default")))

/* An entry takes about 80 bytes. Those pushed out of the table are refused at the next SIGHUP, which costs them nothing
 * with Mosquitto 2.0.11: it disconnects, and a session without a connection stays (measured). */
#define OFFLINE_LIMIT 20000

struct plugin {
    mosquitto_plugin_id_t *identifier;
    struct options options;
    struct hooks *hooks;
    struct sessions *sessions;
    bool reloading; /* between RELOAD and the next TICK */
};

EXPORT int mosquitto_plugin_version(int supported_version_count, const int *supported_versions);
EXPORT int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **user_data, struct mosquitto_opt *options,
                                 int option_count);
EXPORT int mosquitto_plugin_cleanup(void *user_data, struct mosquitto_opt *options, int option_count);

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static enum verdict ask_about_login(struct plugin *plugin, const struct mosquitto *client,
                                    const struct identity *identity)
{
    const struct login login = {
        .username = identity->username,
        .password = identity->password,
        .client_id = identity->client_id,
        .address = mosquitto_client_address(client),
        .protocol = mosquitto_client_protocol_version(client),
        .clean = mosquitto_client_clean_session(client),
    };

    if (!is_given(login.username) || !is_given(login.password) || !is_given(login.client_id)) return VERDICT_DENIED;
    return hooks_ask_login(plugin->hooks, &login);
}

/* Outside of a reload a known pointer means nothing: it may belong to somebody else by now. */
static int log_in(struct plugin *plugin, const struct mosquitto *client, const struct identity *identity)
{
    enum verdict verdict;

    sessions_forget(plugin->sessions, client);
    verdict = ask_about_login(plugin, client, identity);
    if (verdict == VERDICT_DENIED) return BROKER_AUTH;
    if (verdict != VERDICT_ALLOWED) return BROKER_UNKNOWN;
    if (!sessions_admit(plugin->sessions, client, identity)) {
        mosquitto_log_printf(BROKER_LOG_WARNING, "provisioning: out of memory: SIGHUP will disconnect a client");
    }
    return BROKER_SUCCESS;
}

/* Mosquitto comes here for every session that it has, and then serves its WebSocket clients, all before TICK: so the
 * CONNECT of a new one may be among them, with a pointer that was somebody else's (Mosquitto 2.0: src/loop.c; measured
 * with 2.0.11). A client without a WebSocket is never new here.
 * Not BROKER_AUTH, for the sake of that client: it must not be told that its credentials are wrong. For a session
 * both results mean that it goes. */
static int log_in_again(struct plugin *plugin, const struct mosquitto *client, const struct identity *identity)
{
    const bool may_be_new = mosquitto_client_protocol(client) == mp_websockets;

    return sessions_recognise(plugin->sessions, client, identity, may_be_new) ? BROKER_SUCCESS : BROKER_UNKNOWN;
}

static int on_basic_auth(int event, void *event_data, void *user_data)
{
    struct plugin *plugin = user_data;
    const struct mosquitto_evt_basic_auth *auth = event_data;
    struct identity identity;

    (void)event;
    if (auth->client == NULL) return BROKER_AUTH;
    identity = (struct identity){mosquitto_client_id(auth->client), auth->username, auth->password};
    return plugin->reloading ? log_in_again(plugin, auth->client, &identity) : log_in(plugin, auth->client, &identity);
}

/* In a pattern such as dev/%c/# a client id "+" would be everybody's (CVE-2017-7650). Mosquitto refuses these names
 * to plugins of API v4 only. */
static bool is_name(const char *text)
{
    return is_given(text) && strpbrk(text, "+#") == NULL;
}

static int on_acl_check(int event, void *event_data, void *user_data)
{
    struct plugin *plugin = user_data;
    const struct mosquitto_evt_acl_check *check = event_data;
    struct access access;

    (void)event;
    /* Giving up a subscription takes nothing from anybody; brokers that speak API v4 never ask for it. */
    if (check->access == MOSQ_ACL_UNSUBSCRIBE) return BROKER_SUCCESS;
    if (check->client == NULL) return BROKER_ACL_DENIED;
    if (check->access != MOSQ_ACL_READ && check->access != MOSQ_ACL_WRITE && check->access != MOSQ_ACL_SUBSCRIBE) {
        return BROKER_ACL_DENIED;
    }
    access = (struct access){
        .username = mosquitto_client_username(check->client),
        .client_id = mosquitto_client_id(check->client),
        .topic = check->topic,
        .acc = check->access,
    };
    if (!is_name(access.username) || !is_name(access.client_id)) return BROKER_ACL_DENIED;
    switch (hooks_ask_access(plugin->hooks, &access)) {
    case VERDICT_ALLOWED: return BROKER_SUCCESS;
    case VERDICT_DENIED: return BROKER_ACL_DENIED;
    default: return BROKER_UNKNOWN;
    }
}

static int on_disconnect(int event, void *event_data, void *user_data)
{
    struct plugin *plugin = user_data;
    const struct mosquitto_evt_disconnect *disconnect = event_data;

    (void)event;
    if (disconnect->client != NULL) sessions_set_offline(plugin->sessions, disconnect->client);
    return BROKER_SUCCESS;
}

/* After this Mosquitto asks for every session again, in the same pass of its loop that ends in a TICK. */
static int on_reload(int event, void *event_data, void *user_data)
{
    struct plugin *plugin = user_data;

    (void)event;
    (void)event_data;
    plugin->reloading = true;
    hooks_read_secret(plugin->hooks, plugin->options.secret_file);
    return BROKER_SUCCESS;
}

static int on_tick(int event, void *event_data, void *user_data)
{
    struct plugin *plugin = user_data;

    (void)event;
    (void)event_data;
    plugin->reloading = false;
    return BROKER_SUCCESS;
}

static const struct {
    int event;
    MOSQ_FUNC_generic_callback callback;
    const char *name;
} events[] = {
    {MOSQ_EVT_BASIC_AUTH, on_basic_auth, "BASIC_AUTH"}, {MOSQ_EVT_ACL_CHECK, on_acl_check, "ACL_CHECK"},
    {MOSQ_EVT_DISCONNECT, on_disconnect, "DISCONNECT"}, {MOSQ_EVT_RELOAD, on_reload, "RELOAD"},
    {MOSQ_EVT_TICK, on_tick, "TICK"},
};
#define EVENT_COUNT (sizeof events / sizeof events[0])

static void unregister_events(struct plugin *plugin, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (mosquitto_callback_unregister(plugin->identifier, events[i].event, events[i].callback, NULL)
            != BROKER_SUCCESS) {
            mosquitto_log_printf(BROKER_LOG_WARNING, "provisioning: event %s was not registered", events[i].name);
        }
    }
}

static bool register_events(struct plugin *plugin)
{
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        const int result =
            mosquitto_callback_register(plugin->identifier, events[i].event, events[i].callback, NULL, plugin);
        if (result == BROKER_SUCCESS) continue;
        mosquitto_log_printf(BROKER_LOG_ERROR, "provisioning: the broker refuses event %s (%d): loaded twice?",
                             events[i].name, result);
        unregister_events(plugin, i);
        return false;
    }
    return true;
}

static void plugin_free(struct plugin *plugin)
{
    sessions_free(plugin->sessions);
    hooks_free(plugin->hooks);
    options_free(&plugin->options);
    free(plugin);
}

static bool start(struct plugin *plugin, const struct mosquitto_opt *options, int option_count)
{
    char why[256];

    if (options_read(&plugin->options, options, option_count, why, sizeof why)) {
        plugin->hooks = hooks_new(&plugin->options, why, sizeof why);
    }
    if (plugin->hooks == NULL) {
        mosquitto_log_printf(BROKER_LOG_ERROR, "provisioning: %s", why);
        return false;
    }
    plugin->sessions = sessions_new(OFFLINE_LIMIT);
    if (plugin->sessions == NULL) {
        mosquitto_log_printf(BROKER_LOG_ERROR, "provisioning: out of memory or of random bytes");
        return false;
    }
    return hooks_know_us(plugin->hooks) && register_events(plugin);
}

int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
    for (int i = 0; i < supported_version_count; i++) {
        if (supported_versions[i] == MOSQ_PLUGIN_VERSION) return MOSQ_PLUGIN_VERSION;
    }
    return -1;
}

int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **user_data, struct mosquitto_opt *options,
                          int option_count)
{
    struct plugin *plugin = calloc(1, sizeof *plugin);

    if (plugin == NULL) return BROKER_NO_MEMORY;
    plugin->identifier = identifier;
    if (!start(plugin, options, option_count)) {
        plugin_free(plugin);
        return BROKER_INVALID;
    }
    *user_data = plugin;
    return BROKER_SUCCESS;
}

int mosquitto_plugin_cleanup(void *user_data, struct mosquitto_opt *options, int option_count)
{
    struct plugin *plugin = user_data;

    (void)options;
    (void)option_count;
    if (plugin == NULL) return BROKER_SUCCESS;
    unregister_events(plugin, EVENT_COUNT);
    plugin_free(plugin);
    return BROKER_SUCCESS;
}
