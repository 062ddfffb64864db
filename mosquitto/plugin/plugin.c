/* What Mosquitto calls: start, stop and the five events. Everything else is in the other files.
 *
 * Mosquitto has one thread, and it waits while a callback runs. So there is nothing to lock here, and whatever is
 * slow here is slow for every client. That is why topics are decided here, by what the hooks granted at the login
 * (plugin_opt_grants), as long as the feed of changes is heard. */
#include <mosquitto_broker.h>
#include <mosquitto_plugin.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker.h"
#include "feed.h"
#include "hooks.h"
#include "options.h"
#include "sessions.h"
#include "trouble.h"

#define EXPORT __attribute__((visibility("default")))

/* An entry takes about 80 bytes. Those pushed out of the table are refused at the next SIGHUP, which costs them nothing
 * with Mosquitto 2.0.11: it disconnects, and a session without a connection stays (measured). */
#define OFFLINE_LIMIT 20000

/* With the hooks away, what they granted stands for so long from when the feed was last heard. */
#define GRACE_MS 60000
/* Hooks that did not answer are not waited for again for so long, where there is something to go by. */
#define TROUBLE_MS 1000

struct plugin {
    mosquitto_plugin_id_t *identifier;
    struct options options;
    struct hooks *hooks;
    struct sessions *sessions;
    struct feed *feed; /* NULL: every topic is asked for */
    struct trouble trouble;
    int64_t heard_at, trouble_at; /* when the feed last was heard; when the hooks last did not answer */
    int64_t ticked_at;
    bool reloading; /* between RELOAD and the next TICK */
};

EXPORT int mosquitto_plugin_version(int supported_version_count, const int *supported_versions);
EXPORT int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **user_data, struct mosquitto_opt *options,
                                 int option_count);
EXPORT int mosquitto_plugin_cleanup(void *user_data, struct mosquitto_opt *options, int option_count);

static int64_t now_ms(void)
{
    struct timespec now = {0};

    /* Right to some milliseconds, and a few times cheaper: it is asked for each access. It cannot fail. */
    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static enum verdict ask_about_login(struct plugin *plugin, const struct mosquitto *client,
                                    const struct identity *identity, struct admission *admission)
{
    const struct login login = {
        .username = identity->username,
        .password = identity->password,
        .client_id = identity->client_id,
        .address = mosquitto_client_address(client),
        .protocol = mosquitto_client_protocol_version(client),
        .clean = mosquitto_client_clean_session(client),
        .grants = plugin->feed != NULL,
    };

    if (!is_given(login.username) || !is_given(login.password) || !is_given(login.client_id)) return VERDICT_DENIED;
    return hooks_ask_login(plugin->hooks, &login, admission);
}

/* Whatever was connected under this pointer is not any longer. */
static void end_connection(struct plugin *plugin, const struct mosquitto *client)
{
    const char *client_id = sessions_set_offline(plugin->sessions, client);

    if (client_id != NULL && plugin->feed != NULL) feed_note_connection(plugin->feed, client_id, false, now_ms());
}

/* ~takeover ends the session of whoever may not be here any more. The hooks allow it by what they know of logins, a
 * moment late; here it is known who is connected, and while the feed is heard who may be. The responder comes again. */
static bool spares(struct plugin *plugin, const struct identity *identity)
{
    const int64_t now = now_ms();

    if (plugin->feed == NULL || !is_given(identity->username) || strcmp(identity->username, "~takeover") != 0) return false;
    feed_hear(plugin->feed, now);
    return feed_is_heard(plugin->feed, now) && is_given(identity->client_id)
        && sessions_is_in_use(plugin->sessions, identity->client_id);
}

static void note_login(struct plugin *plugin, const struct mosquitto *client, const struct identity *identity,
                       uint64_t as_of)
{
    feed_check_login(plugin->feed, client, identity->client_id, identity->username, as_of);
    if (identity->username[0] != '~') feed_note_connection(plugin->feed, identity->client_id, true, now_ms());
}

/* Outside of a reload a known pointer means nothing: it may belong to somebody else by now. */
static int log_in(struct plugin *plugin, const struct mosquitto *client, const struct identity *identity)
{
    struct admission admission = {0};
    enum verdict verdict;

    end_connection(plugin, client);
    sessions_forget(plugin->sessions, client);
    if (spares(plugin, identity)) return BROKER_AUTH;
    verdict = ask_about_login(plugin, client, identity, &admission);
    if (verdict == VERDICT_DENIED) return BROKER_AUTH;
    if (verdict != VERDICT_ALLOWED) return BROKER_UNKNOWN;
    if (!sessions_admit(plugin->sessions, client, identity, admission.grants)) {
        mosquitto_log_printf(BROKER_LOG_WARNING, "provisioning: out of memory: SIGHUP will disconnect a client");
    } else if (plugin->feed != NULL) {
        note_login(plugin, client, identity, admission.as_of);
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

static int ask(struct plugin *plugin, const struct access *access)
{
    switch (hooks_ask_access(plugin->hooks, access)) {
    case VERDICT_ALLOWED: return BROKER_SUCCESS;
    case VERDICT_DENIED: return BROKER_ACL_DENIED;
    default: return BROKER_UNKNOWN;
    }
}

static int decide_by_grants(struct plugin *plugin, const struct mosquitto *client, const struct access *access,
                            const struct grants *grants, int64_t now)
{
    const char *refused = grants_refuse(grants, access->acc, access->topic);

    if (refused == NULL) {
        if (access->acc == MOSQ_ACL_WRITE) sessions_note_active(plugin->sessions, client);
        return BROKER_SUCCESS;
    }
    feed_note_refused(plugin->feed, access->client_id, access->username, access->topic, access->acc, refused, now);
    return BROKER_ACL_DENIED;
}

/* Asks; and where there is no answer goes by what was granted, if it was so when the feed was last heard, and that is
 * not too long ago. */
static int ask_or_fall_back(struct plugin *plugin, const struct mosquitto *client, const struct access *access,
                            const struct grants *grants, int64_t now)
{
    int result = BROKER_UNKNOWN;

    if (grants == NULL || now >= plugin->trouble_at + TROUBLE_MS) {
        result = ask(plugin, access);
        if (result == BROKER_UNKNOWN) plugin->trouble_at = now_ms();
    }
    if (result != BROKER_UNKNOWN || grants == NULL || now >= plugin->heard_at + GRACE_MS) return result;
    return decide_by_grants(plugin, client, access, grants, now);
}

static int decide(struct plugin *plugin, const struct mosquitto *client, const struct access *access, int64_t now)
{
    const struct grants *grants;
    enum standing standing;

    feed_hear(plugin->feed, now);
    standing = sessions_standing(plugin->sessions, client, access->client_id, access->username, &grants);
    if (standing == STANDING_REVOKED) return BROKER_ACL_DENIED;
    if (standing != STANDING_GRANTED) grants = NULL;
    if (!feed_is_heard(plugin->feed, now)) return ask_or_fall_back(plugin, client, access, grants, now);
    plugin->heard_at = now;
    return grants != NULL ? decide_by_grants(plugin, client, access, grants, now) : ask(plugin, access);
}

static int on_acl_check(int event, void *event_data, void *user_data)
{
    struct plugin *plugin = user_data;
    const struct mosquitto_evt_acl_check *check = event_data;
    struct access access;

    (void)event;
    /* Giving up a subscription takes nothing from anybody; brokers that speak API v4 never ask for it. */
    if (check->access == MOSQ_ACL_UNSUBSCRIBE) return BROKER_SUCCESS;
    if (check->client == NULL || check->topic == NULL) return BROKER_ACL_DENIED;
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
    return plugin->feed != NULL ? decide(plugin, check->client, &access, now_ms()) : ask(plugin, &access);
}

static int on_disconnect(int event, void *event_data, void *user_data)
{
    struct plugin *plugin = user_data;
    const struct mosquitto_evt_disconnect *disconnect = event_data;

    (void)event;
    if (disconnect->client != NULL) end_connection(plugin, disconnect->client);
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
    if (plugin->feed != NULL) feed_read_secret(plugin->feed, plugin->options.secret_file);
    return BROKER_SUCCESS;
}

/* A kick comes back to the other callbacks before it returns: nothing may be under way here. */
static void kick_revoked(struct plugin *plugin)
{
    char *client_id;

    while ((client_id = feed_next_revoked(plugin->feed)) != NULL) {
        /* NULL, or nothing, would kick everybody. */
        if (is_given(client_id)) (void)mosquitto_kick_client_by_clientid(client_id, false);
        free(client_id);
    }
}

static void log_feed_trouble(struct plugin *plugin, int64_t now)
{
    const char *why = feed_trouble(plugin->feed);
    unsigned long unwritten = 0;

    if (why == NULL || !trouble_is_written(&plugin->trouble, (time_t)(now / 1000), &unwritten)) return;
    mosquitto_log_printf(BROKER_LOG_WARNING, "provisioning: feed: %s (%lu not shown before this)", why, unwritten);
}

static int on_tick(int event, void *event_data, void *user_data)
{
    struct plugin *plugin = user_data;
    const int64_t now = now_ms();

    (void)event;
    (void)event_data;
    plugin->reloading = false;
    /* Under load every packet brings a TICK: those of the same moment are one. */
    if (plugin->feed == NULL || plugin->ticked_at == now) return BROKER_SUCCESS;
    plugin->ticked_at = now;
    feed_hear(plugin->feed, now);
    if (feed_is_heard(plugin->feed, now)) plugin->heard_at = now;
    feed_ask(plugin->feed, now);
    kick_revoked(plugin);
    log_feed_trouble(plugin, now);
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
    feed_free(plugin->feed);
    sessions_free(plugin->sessions);
    hooks_free(plugin->hooks);
    options_free(&plugin->options);
    free(plugin);
}

static bool start_feed(struct plugin *plugin)
{
    char why[256] = "out of memory";

    plugin->heard_at = plugin->trouble_at = plugin->ticked_at = INT64_MIN / 2;
    if (!plugin->options.grants) return true;
    plugin->feed = feed_new(&plugin->options, plugin->sessions, now_ms(), why, sizeof why);
    if (plugin->feed == NULL) mosquitto_log_printf(BROKER_LOG_ERROR, "provisioning: %s", why);
    return plugin->feed != NULL;
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
    return start_feed(plugin) && hooks_know_us(plugin->hooks) && register_events(plugin);
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
