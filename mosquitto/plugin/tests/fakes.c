#include "fakes.h"

#include <stdarg.h>

#include "broker.h"
#include "check.h"
#include "courier.h"
#include "http.h"

struct fake fake;

const char *mosquitto_client_id(const struct mosquitto *client) { return client->id; }
const char *mosquitto_client_username(const struct mosquitto *client) { return client->username; }
const char *mosquitto_client_address(const struct mosquitto *client) { return client->address; }
int mosquitto_client_protocol_version(const struct mosquitto *client) { return client->protocol; }
int mosquitto_client_protocol(const struct mosquitto *client) { return client->websocket ? mp_websockets : mp_mqtt; }
bool mosquitto_client_clean_session(const struct mosquitto *client) { return client->clean; }

void mosquitto_log_printf(int level, const char *format, ...)
{
    const size_t used = strlen(fake.log);
    va_list values;

    (void)level;
    va_start(values, format);
    (void)vsnprintf(fake.log + used, sizeof fake.log - used, format, values);
    va_end(values);
}

int mosquitto_callback_register(mosquitto_plugin_id_t *identifier, int event, MOSQ_FUNC_generic_callback callback,
                                const void *event_data, void *user_data)
{
    (void)identifier;
    (void)event_data;
    if (event == fake.refused_event) return 31;
    CHECK(fake.callbacks[event] == NULL, "registered once");
    fake.callbacks[event] = callback;
    fake.user_data[event] = user_data;
    return BROKER_SUCCESS;
}

int mosquitto_callback_unregister(mosquitto_plugin_id_t *identifier, int event, MOSQ_FUNC_generic_callback callback,
                                  const void *event_data)
{
    (void)identifier;
    (void)event_data;
    CHECK(fake.callbacks[event] == callback, "was registered");
    fake.callbacks[event] = NULL;
    return BROKER_SUCCESS;
}

struct http {
    int unused;
};

static void remember(char *place, size_t size, const char *text)
{
    (void)snprintf(place, size, "%s", text);
}

struct http *http_new(const struct options *options, const char *secret, size_t body_max, char *why, size_t why_size)
{
    struct http *http;

    (void)options;
    (void)body_max;
    if (fake.no_http) {
        (void)snprintf(why, why_size, "no http");
        return NULL;
    }
    http = calloc(1, sizeof *http);
    remember(fake.secret, sizeof fake.secret, secret);
    return http;
}

void http_free(struct http *http)
{
    free(http);
}

bool http_set_secret(struct http *http, const char *secret)
{
    (void)http;
    if (fake.keep_secret) return false;
    remember(fake.secret, sizeof fake.secret, secret);
    return true;
}

const char *http_ask(struct http *http, enum http_route route, const char *body, size_t length,
                     struct http_reply *reply)
{
    static const char *const names[] = {"user", "acl", "superuser", "changes", "clients", "reports"};

    (void)http;
    CHECK(strlen(body) == length, "length");
    fake.questions++;
    remember(fake.last_path, sizeof fake.last_path, names[route]);
    remember(fake.last_question, sizeof fake.last_question, body);
    if (fake.status == 0) return "no answer";
    *reply = (struct http_reply){fake.status, fake.body, strlen(fake.body)};
    return NULL;
}

struct courier {
    int number;
};

static int couriers;

struct courier *courier_new(const struct options *options, const char *secret, size_t body_max, char *why,
                            size_t why_size)
{
    struct courier *courier = calloc(1, sizeof *courier);

    (void)options;
    (void)secret;
    (void)body_max;
    (void)why;
    (void)why_size;
    CHECK(courier != NULL, "memory");
    courier->number = couriers++ % 2;
    memset(&fake.couriers[courier->number], 0, sizeof fake.couriers[0]);
    return courier;
}

void courier_free(struct courier *courier) { free(courier); }

bool courier_set_secret(struct courier *courier, const char *secret)
{
    (void)courier;
    (void)secret;
    return true;
}

bool courier_is_idle(const struct courier *courier)
{
    return !fake.couriers[courier->number].out;
}

bool courier_send(struct courier *courier, enum http_route route, char *body)
{
    CHECK(courier_is_idle(courier), "one question at a time");
    fake.couriers[courier->number].out = true;
    fake.couriers[courier->number].route = (int)route;
    fake.couriers[courier->number].questions++;
    remember(fake.couriers[courier->number].sent, sizeof fake.couriers[0].sent, body);
    free(body);
    return true;
}

bool courier_collect(struct courier *courier, struct delivery *delivery)
{
    if (!fake.couriers[courier->number].back) return false;
    fake.couriers[courier->number].back = false;
    fake.couriers[courier->number].out = false;
    *delivery = (struct delivery){
        .why = fake.couriers[courier->number].status == 0 ? "no answer" : NULL,
        .status = fake.couriers[courier->number].status,
        .body = fake.couriers[courier->number].body,
    };
    delivery->length = delivery->body != NULL ? strlen(delivery->body) : 0;
    return true;
}

int mosquitto_kick_client_by_clientid(const char *clientid, bool with_will)
{
    const size_t used = strlen(fake.kicked);

    CHECK(clientid != NULL && clientid[0] != '\0' && !with_will, "kicks everybody, or says the will");
    (void)snprintf(fake.kicked + used, sizeof fake.kicked - used, "%s ", clientid);
    if (fake.on_kick != NULL) fake.on_kick();
    return BROKER_SUCCESS;
}
