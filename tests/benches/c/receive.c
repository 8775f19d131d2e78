/* A C client on libmosquitto that drains what waits for it, to be measured beside imd.
 *
 *   receive prepare HOST PORT USER CLIENT_ID TOPIC             makes the session, so that messages wait there
 *   receive drain   HOST PORT USER CLIENT_ID TOPIC COUNT [DB]  takes COUNT messages, and says how many nanoseconds
 *                                                             passed from the first to the last
 *
 * With DB each message is committed to SQLite (WAL, synchronous=FULL) before it is acknowledged; without it
 * nothing is stored. The password is the first line of standard input.
 */
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct client {
    const char *topic;
    long wanted;
    long seen;
    uint64_t first;
    uint64_t last;
    int is_subscribed;
    sqlite3 *database;
    sqlite3_stmt *insert;
};

static uint64_t monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void check(const char *what, int code) {
    if (code != MOSQ_ERR_SUCCESS) fail(what, mosquitto_strerror(code));
}

static void sql(struct client *client, int code, int wanted) {
    if (code != wanted) fail("SQLite", sqlite3_errmsg(client->database));
}

static void open_database(struct client *client, const char *path) {
    sql(client, sqlite3_open(path, &client->database), SQLITE_OK);
    const char *schema =
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL);";
    sql(client, sqlite3_exec(client->database, schema, NULL, NULL, NULL), SQLITE_OK);
    const char *insert = "INSERT INTO messages (topic, payload) VALUES (?1, ?2)";
    sql(client, sqlite3_prepare_v2(client->database, insert, -1, &client->insert, NULL), SQLITE_OK);
}

static void on_connect(struct mosquitto *mosq, void *data, int code, int flags, const mosquitto_property *props) {
    (void)flags;
    (void)props;
    struct client *client = data;
    if (code != 0) fail("CONNACK", mosquitto_reason_string(code));
    check("subscribe", mosquitto_subscribe_v5(mosq, NULL, client->topic, 1, 0, NULL));
}

static void on_subscribe(struct mosquitto *mosq, void *data, int id, int count, const int *granted) {
    (void)mosq;
    (void)id;
    (void)count;
    (void)granted;
    struct client *client = data;
    client->is_subscribed = 1;
}

/* The library acknowledges when this returns. */
static void on_message(struct mosquitto *mosq, void *data, const struct mosquitto_message *message) {
    (void)mosq;
    struct client *client = data;
    if (client->insert != NULL) {
        sqlite3_bind_text(client->insert, 1, message->topic, -1, SQLITE_STATIC);
        sqlite3_bind_blob(client->insert, 2, message->payload, message->payloadlen, SQLITE_STATIC);
        sql(client, sqlite3_step(client->insert), SQLITE_DONE);
        sqlite3_reset(client->insert);
    }
    client->last = monotonic();
    if (client->seen == 0) client->first = client->last;
    client->seen += 1;
}

int main(int argc, char **argv) {
    int drains = argc > 1 && strcmp(argv[1], "drain") == 0;
    if (argc < (drains ? 8 : 7)) fail("usage", "receive prepare|drain HOST PORT USER CLIENT_ID TOPIC [COUNT [DB]]");
    char password[9000];
    if (fgets(password, sizeof password, stdin) == NULL) fail("password", "none on standard input");
    password[strcspn(password, "\n")] = 0;

    struct client client = {.topic = argv[6], .wanted = drains ? atol(argv[7]) : 0};
    if (argc > 8) open_database(&client, argv[8]);

    mosquitto_lib_init();
    struct mosquitto *mosq = mosquitto_new(argv[5], false, &client);
    if (mosq == NULL) fail("mosquitto_new", "no memory");
    mosquitto_int_option(mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_int_option(mosq, MOSQ_OPT_RECEIVE_MAXIMUM, 65535);
    mosquitto_int_option(mosq, MOSQ_OPT_TCP_NODELAY, 1);
    check("password", mosquitto_username_pw_set(mosq, argv[4], password));
    mosquitto_connect_v5_callback_set(mosq, on_connect);
    mosquitto_subscribe_callback_set(mosq, on_subscribe);
    mosquitto_message_callback_set(mosq, on_message);
    mosquitto_property *properties = NULL;
    check("expiry", mosquitto_property_add_int32(&properties, MQTT_PROP_SESSION_EXPIRY_INTERVAL, 3600));
    check("connect", mosquitto_connect_bind_v5(mosq, argv[2], atoi(argv[3]), 30, NULL, properties));
    while (!client.is_subscribed || client.seen < client.wanted) check("loop", mosquitto_loop(mosq, 1000, 1));
    if (drains) printf("%llu\n", (unsigned long long)(client.last - client.first));
    check("disconnect", mosquitto_disconnect(mosq));
    while (mosquitto_loop(mosq, 100, 1) == MOSQ_ERR_SUCCESS) {
    }
    mosquitto_property_free_all(&properties);
    mosquitto_destroy(mosq);
    if (client.database != NULL) {
        sqlite3_finalize(client.insert);
        sqlite3_close(client.database);
    }
    return 0;
}
