/* A C client on Paho that sends with its messages persisted, to be measured beside imd.
 *
 *   send file|fsync HOST PORT USER CLIENT_ID TOPIC COUNT WINDOW BYTES DIRECTORY
 *
 * `file` is Paho's own persistence, a file for each message; `fsync` is the same, made safe on disk: each file,
 * and the directory, is synchronised before the message is sent. It says how many nanoseconds passed from the
 * first send to the last acknowledgement. The password is the first line of standard input.
 */
#include <MQTTAsync.h>
#include <MQTTClientPersistence.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static sem_t window;
static sem_t done;
static sem_t connected;
static long acknowledged;
static long wanted;
static uint64_t last;

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
    if (code != MQTTASYNC_SUCCESS) fail(what, MQTTAsync_strerror(code));
}

/* Persistence like Paho's own, with the disk waited for. The handle is the directory's descriptor. */

static int persist_open(void **handle, const char *client_id, const char *uri, void *context) {
    (void)client_id;
    (void)uri;
    int directory = open(context, O_RDONLY | O_DIRECTORY);
    if (directory < 0) return MQTTCLIENT_PERSISTENCE_ERROR;
    *handle = (void *)(intptr_t)directory;
    return 0;
}

static int persist_close(void *handle) {
    return close((int)(intptr_t)handle) == 0 ? 0 : MQTTCLIENT_PERSISTENCE_ERROR;
}

static int persist_put(void *handle, char *key, int count, char *buffers[], int lengths[]) {
    int directory = (int)(intptr_t)handle;
    int file = openat(directory, key, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (file < 0) return MQTTCLIENT_PERSISTENCE_ERROR;
    int is_bad = 0;
    for (int at = 0; at < count; at++) is_bad |= write(file, buffers[at], (size_t)lengths[at]) != lengths[at];
    is_bad |= fsync(file) != 0;
    is_bad |= close(file) != 0;
    is_bad |= fsync(directory) != 0;
    return is_bad ? MQTTCLIENT_PERSISTENCE_ERROR : 0;
}

static int persist_get(void *handle, char *key, char **buffer, int *length) {
    int file = openat((int)(intptr_t)handle, key, O_RDONLY);
    struct stat found;
    if (file < 0 || fstat(file, &found) != 0) return MQTTCLIENT_PERSISTENCE_ERROR;
    *length = (int)found.st_size;
    *buffer = malloc((size_t)found.st_size);
    ssize_t got = read(file, *buffer, (size_t)found.st_size);
    close(file);
    return got == found.st_size ? 0 : MQTTCLIENT_PERSISTENCE_ERROR;
}

static int persist_remove(void *handle, char *key) {
    return unlinkat((int)(intptr_t)handle, key, 0) == 0 ? 0 : MQTTCLIENT_PERSISTENCE_ERROR;
}

/* Each run has an empty directory. */
static int persist_keys(void *handle, char ***keys, int *count) {
    (void)handle;
    *keys = NULL;
    *count = 0;
    return 0;
}

static int persist_clear(void *handle) {
    (void)handle;
    return 0;
}

static int persist_contains(void *handle, char *key) {
    return faccessat((int)(intptr_t)handle, key, F_OK, 0) == 0 ? 0 : MQTTCLIENT_PERSISTENCE_ERROR;
}

static void on_connect(void *context, MQTTAsync_successData5 *data) {
    (void)context;
    (void)data;
    sem_post(&connected);
}

static void on_failure(void *context, MQTTAsync_failureData5 *data) {
    (void)context;
    fail("refused", data->message != NULL ? data->message : MQTTReasonCode_toString(data->reasonCode));
}

static void on_sent(void *context, MQTTAsync_successData5 *data) {
    (void)context;
    (void)data;
    last = monotonic();
    sem_post(&window);
    if (++acknowledged == wanted) sem_post(&done);
}

int main(int argc, char **argv) {
    if (argc != 11) fail("usage", "send file|fsync HOST PORT USER CLIENT_ID TOPIC COUNT WINDOW BYTES DIRECTORY");
    char password[9000];
    if (fgets(password, sizeof password, stdin) == NULL) fail("password", "none on standard input");
    password[strcspn(password, "\n")] = 0;
    wanted = atol(argv[7]);
    int most = atoi(argv[8]);
    int bytes = atoi(argv[9]);
    char *directory = argv[10];
    sem_init(&window, 0, (unsigned)most);
    sem_init(&done, 0, 0);
    sem_init(&connected, 0, 0);

    MQTTClient_persistence synchronised = {
        directory,    persist_open,   persist_close, persist_put,      persist_get,
        persist_remove, persist_keys, persist_clear, persist_contains,
    };
    int is_synchronised = strcmp(argv[1], "fsync") == 0;
    char uri[256];
    snprintf(uri, sizeof uri, "tcp://%s:%s", argv[2], argv[3]);
    MQTTAsync client;
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer5;
    options.maxBufferedMessages = most;
    int kind = is_synchronised ? MQTTCLIENT_PERSISTENCE_USER : MQTTCLIENT_PERSISTENCE_DEFAULT;
    void *context = is_synchronised ? (void *)&synchronised : directory;
    check("create", MQTTAsync_createWithOptions(&client, uri, argv[5], kind, context, &options));

    MQTTAsync_connectOptions connect = MQTTAsync_connectOptions_initializer5;
    connect.keepAliveInterval = 30;
    connect.maxInflight = most;
    connect.username = argv[4];
    connect.password = password;
    connect.cleanstart = 1;
    connect.onSuccess5 = on_connect;
    connect.onFailure5 = on_failure;
    check("connect", MQTTAsync_connect(client, &connect));
    sem_wait(&connected);

    char *payload = malloc((size_t)bytes);
    memset(payload, 'x', (size_t)bytes);
    uint64_t first = monotonic();
    for (long at = 0; at < wanted; at++) {
        while (sem_wait(&window) != 0 && errno == EINTR) {
        }
        MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;
        response.onSuccess5 = on_sent;
        response.onFailure5 = on_failure;
        check("send", MQTTAsync_send(client, argv[6], bytes, payload, 1, 0, &response));
    }
    sem_wait(&done);
    printf("%llu\n", (unsigned long long)(last - first));
    MQTTAsync_disconnectOptions end = MQTTAsync_disconnectOptions_initializer5;
    MQTTAsync_disconnect(client, &end);
    MQTTAsync_destroy(&client);
    free(payload);
    return 0;
}
