/* The hot loop of a vTPM instance: ends the pod's channel and runs the TPM, without a hop between.
 *
 * One TPM command is one TLS record or one datagram's worth of stream bytes; nothing is buffered
 * beyond it. Everything that is not a per-command cost stays in Python (instance.py).
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <libtpms/tpm_library.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

enum { HEADER = 10, MAX_MESSAGE = 4096 };

typedef struct {
    int fd;
    SSL *ssl; /* NULL: plain */
} stream;

/* libtpms holds one TPM and is not reentrant; connections take turns, a command at a time. */
static pthread_mutex_t one_command = PTHREAD_MUTEX_INITIALIZER;
/* How often the TPM was switched on by a device, guarded by one_command. */
static unsigned power_ons;

static int read_some(stream *s, uint8_t *to, int room)
{
    ssize_t n;

    if (s->ssl)
        return SSL_read(s->ssl, to, room);
    do
        n = read(s->fd, to, (size_t)room);
    while (n < 0 && errno == EINTR);
    return (int)n;
}

static int write_all(stream *s, const uint8_t *from, int size)
{
    while (size > 0) {
        ssize_t n = s->ssl ? SSL_write(s->ssl, from, size)
                           : send(s->fd, from, (size_t)size, MSG_NOSIGNAL);
        if (n < 0 && !s->ssl && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        from += n;
        size -= (int)n;
    }
    return 1;
}

/* The size of one whole message in `message`; 0 when the peer is gone or sent something else. */
static int read_message(stream *s, uint8_t *message)
{
    int have = 0, size = HEADER;

    while (have < size) {
        int n = read_some(s, message + have, MAX_MESSAGE - have);
        if (n <= 0)
            return 0;
        have += n;
        if (size == HEADER && have >= HEADER) {
            uint32_t said = (uint32_t)message[2] << 24 | (uint32_t)message[3] << 16 |
                            (uint32_t)message[4] << 8 | message[5];
            if (said < HEADER || said > MAX_MESSAGE)
                return 0;
            size = (int)said;
        }
    }
    return have == size ? size : 0;
}

/* Switch the TPM off and on: its PCRs are gone, its keys are not, and it awaits TPM2_Startup.
 * Ends every connection made before. 0 when its state cannot be loaded.
 */
static unsigned power_cycle(void)
{
    unsigned number;

    pthread_mutex_lock(&one_command);
    TPMLIB_Terminate();
    number = ++power_ons;
    if (TPMLIB_MainInit() != 0)
        number = 0;
    pthread_mutex_unlock(&one_command);
    return number;
}

/* `powered`: the power_ons of this connection, 0 where no device ever switches the TPM. */
static void serve(stream *s, unsigned powered)
{
    uint8_t command[MAX_MESSAGE];
    int size;

    while ((size = read_message(s, command)) > 0) {
        uint8_t answer[MAX_MESSAGE];
        static unsigned char *response; /* libtpms' own buffer, guarded by the lock */
        static uint32_t capacity;
        uint32_t length = 0;
        int ok;

        pthread_mutex_lock(&one_command);
        ok = powered == power_ons &&
             TPMLIB_Process(&response, &length, &capacity, command, (uint32_t)size) == 0 &&
             length <= MAX_MESSAGE;
        if (ok)
            memcpy(answer, response, length);
        pthread_mutex_unlock(&one_command);
        if (!ok || !write_all(s, answer, (int)length))
            return;
    }
}

static int receive_timeout(int fd, int seconds)
{
    struct timeval limit = {seconds, 0};

    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0;
}

/* TLS 1.3 only; the one certificate that may connect is `peer`. NULL when a part is unusable. */
static SSL_CTX *pinned_context(const uint8_t *key, long key_size, const uint8_t *certificate,
                               int certificate_size, const uint8_t *peer, long peer_size)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    X509 *pinned = d2i_X509(NULL, &peer, peer_size);
    int ok = context && pinned && SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
             SSL_CTX_use_certificate_ASN1(context, certificate_size, certificate) == 1 &&
             SSL_CTX_use_PrivateKey_ASN1(EVP_PKEY_EC, context, key, key_size) == 1 &&
             X509_STORE_add_cert(SSL_CTX_get_cert_store(context), pinned) == 1 &&
             /* A resumed session would skip the pin: no tickets. */
             SSL_CTX_set_num_tickets(context, 0) == 1;

    X509_free(pinned);
    if (!ok) {
        SSL_CTX_free(context);
        return NULL;
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    /* A record's header and body in one read. */
    SSL_CTX_set_read_ahead(context, 1);
    return context;
}

static int peer_is(SSL *ssl, const uint8_t *expected, int size)
{
    X509 *shown = SSL_get1_peer_certificate(ssl);
    uint8_t *der = NULL;
    int length = shown ? i2d_X509(shown, &der) : -1;
    int same = length == size && memcmp(der, expected, (size_t)size) == 0;

    OPENSSL_free(der);
    X509_free(shown);
    return same;
}

static void serve_device_or_pod(stream *s, int device)
{
    unsigned powered = device ? power_cycle() : 0;

    if (powered || !device)
        serve(s, powered);
}

/* `device`: the connection is the TPM's power, which comes on with it. */
void vtpm_serve_plain(int fd, int device)
{
    stream s = {fd, NULL};

    serve_device_or_pod(&s, device);
}

/* 1 when the pinned peer was served until it left, 0 when it was refused. */
int vtpm_serve_tls(int fd, const uint8_t *key, long key_size, const uint8_t *certificate,
                   int certificate_size, const uint8_t *peer, int peer_size, int handshake_s,
                   int device)
{
    SSL_CTX *context =
        pinned_context(key, key_size, certificate, certificate_size, peer, peer_size);
    SSL *ssl = context ? SSL_new(context) : NULL;
    int served = ssl && SSL_set_fd(ssl, fd) == 1 && receive_timeout(fd, handshake_s) &&
                 SSL_accept(ssl) == 1 && peer_is(ssl, peer, peer_size) && receive_timeout(fd, 0);

    if (served) {
        stream s = {fd, ssl};
        serve_device_or_pod(&s, device);
        SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    ERR_clear_error();
    return served;
}
