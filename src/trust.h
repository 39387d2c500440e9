/* trust.h: whom a file comes from: opens it where nobody else could have put it, and checks who signed
 * the bytes. What was opened or checked is what the caller goes on with: no path is looked up twice. */
#ifndef HOTLUA_TRUST_H
#define HOTLUA_TRUST_H

#include "error.h"

#include <stddef.h>

/* Open the regular file at `path` for reading, one directory after the other, through symbolic links. -1 with
 * error (stage "copy") if it cannot be opened, or if anybody but root and the owner of this process could
 * write to it or put another in its place: each directory on the way, and the file, belongs to one of them
 * and is not writable by group or others. A sticky directory such as /tmp may be, if the entry belongs to one
 * of them. */
int trust_open(const char *path, struct error *error);

/* Does this process need that, whatever its options say? It does as root or with rights of another user. */
bool trust_is_needed(void);

/* Is the minisign signature of the `size` bytes in the file at `signature_path`, made with the secret key of
 * `public_key` (base64, or the text of a .pub file)? False with error (stage "verify"). `source` is the name
 * of what is checked, for the error's text. */
bool trust_check_minisign(const void *bytes, size_t size, const char *source, const char *signature_path,
                          const char *public_key, struct error *error);

#endif
