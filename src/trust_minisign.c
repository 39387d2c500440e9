/* trust_minisign.c: signatures of minisign, legacy and prehashed, with libsodium. Reads no more of a file
 * than a signature may be long. */
#include "trust.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_NAME = 8, MAX_FILE = 16 * 1024 };

struct key {
    unsigned char algorithm[2], name[KEY_NAME], bytes[crypto_sign_PUBLICKEYBYTES];
};

struct signature {
    unsigned char algorithm[2], name[KEY_NAME], bytes[crypto_sign_BYTES];
};

/* A signature file: four lines. */
struct file {
    struct signature signature;
    unsigned char of_comment[crypto_sign_BYTES];     /* signs the signature and the trusted comment */
    char *comment;
    char text[MAX_FILE + 1];
};

/* Exactly `size` bytes from base64, which may have spaces around it. */
static bool decode(const char *text, void *bytes, size_t size)
{
    size_t length;
    return sodium_base642bin(bytes, size, text, strlen(text), " \t\r\n", &length, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 && length == size;
}

/* The line at *text, cut off; NULL when there is none. */
static char *next_line(char **text)
{
    char *line = *text;
    if (!line || !*line)
        return NULL;
    size_t length = strcspn(line, "\n");
    *text = line + length + (line[length] == '\n');
    line[length] = 0;
    if (length > 0 && line[length - 1] == '\r')
        line[length - 1] = 0;
    return line;
}

static char *after_prefix(char *line, const char *prefix)
{
    size_t length = strlen(prefix);
    return line && strncmp(line, prefix, length) == 0 ? line + length : NULL;
}

static bool read_key(const char *text, struct key *key)
{
    char copy[512], *rest = copy;
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy)
        return false;
    char *line = next_line(&rest);
    if (after_prefix(line, "untrusted comment:"))
        line = next_line(&rest);
    return line && decode(line, key, sizeof *key) && memcmp(key->algorithm, "Ed", 2) == 0;
}

static bool read_text(const char *path, char *text, struct error *error, const char *source)
{
    struct stat status;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t length = -1;
    if (descriptor >= 0 && fstat(descriptor, &status) == 0 && !S_ISREG(status.st_mode))
        errno = EINVAL;
    else if (descriptor >= 0)
        length = pread(descriptor, text, MAX_FILE, 0);
    int failure = errno;
    if (descriptor >= 0)
        close(descriptor);
    if (length < 0)
        return error_set_stage(error, "verify", "%s: its signature %s: %s; sign it with minisign -S",
                               source, path, strerror(failure));
    text[length] = 0;
    return true;
}

static bool parse(struct file *file)
{
    char *rest = file->text;
    char *untrusted = after_prefix(next_line(&rest), "untrusted comment:");
    char *signature = untrusted ? next_line(&rest) : NULL;
    file->comment = after_prefix(next_line(&rest), "trusted comment: ");
    char *of_comment = file->comment ? next_line(&rest) : NULL;
    return signature && of_comment && decode(signature, &file->signature, sizeof file->signature) &&
           decode(of_comment, file->of_comment, sizeof file->of_comment);
}

/* Newer signatures ("ED") are of the content's BLAKE2b, older ones ("Ed") of the content. */
static bool is_signed(const struct signature *signature, const struct key *key, const void *bytes,
                      size_t size)
{
    unsigned char digest[crypto_generichash_BYTES_MAX];
    if (memcmp(signature->algorithm, "Ed", 2) == 0)
        return crypto_sign_verify_detached(signature->bytes, bytes, size, key->bytes) == 0;
    if (memcmp(signature->algorithm, "ED", 2) != 0)
        return false;
    crypto_generichash(digest, sizeof digest, bytes, size, NULL, 0);
    return crypto_sign_verify_detached(signature->bytes, digest, sizeof digest, key->bytes) == 0;
}

static bool is_comment_signed(const struct file *file, const struct key *key)
{
    unsigned char message[crypto_sign_BYTES + MAX_FILE];
    size_t length = strlen(file->comment);
    memcpy(message, file->signature.bytes, crypto_sign_BYTES);
    memcpy(message + crypto_sign_BYTES, file->comment, length);
    size_t size = crypto_sign_BYTES + length;
    return crypto_sign_verify_detached(file->of_comment, message, size, key->bytes) == 0;
}

/* As minisign spells it: the last byte first. */
static const char *spell(const unsigned char name[KEY_NAME], char *text)
{
    for (int i = 0; i < KEY_NAME; i++)
        sprintf(text + 2 * i, "%02X", name[KEY_NAME - 1 - i]);
    return text;
}

bool trust_check_minisign(const void *bytes, size_t size, const char *source, const char *signature_path,
                          const char *public_key, struct error *error)
{
    struct file file;
    struct key key;
    char ours[2 * KEY_NAME + 1], theirs[2 * KEY_NAME + 1];
    if (sodium_init() < 0)
        return error_set_stage(error, "verify", "%s: libsodium cannot be used", source);
    if (!read_key(public_key, &key))
        return error_set_stage(error, "verify", "%s: verify.minisign is not a public key of minisign: it is "
                               "the second line of a .pub file", source);
    if (!read_text(signature_path, file.text, error, source))
        return false;
    if (!parse(&file))
        return error_set_stage(error, "verify", "%s: %s is not a signature of minisign", source,
                               signature_path);
    if (memcmp(file.signature.name, key.name, KEY_NAME) != 0)
        return error_set_stage(error, "verify", "%s: signed with key %s, `verify` asks for key %s", source,
                               spell(file.signature.name, theirs), spell(key.name, ours));
    if (!is_signed(&file.signature, &key, bytes, size))
        return error_set_stage(error, "verify", "%s: its signature %s is of another content", source,
                               signature_path);
    if (!is_comment_signed(&file, &key))
        return error_set_stage(error, "verify", "%s: the trusted comment of its signature %s was changed",
                               source, signature_path);
    return true;
}
