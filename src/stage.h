/* stage.h: takes the private copy of a plugin's file that everything later works on. A copy has a
 * path that no copy before it had, in a directory only this user may enter; the directory goes with
 * the process, and one that a dead process left behind is swept up at the next start. */
#ifndef HOTLUA_STAGE_H
#define HOTLUA_STAGE_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct stage;

/* Copy the file at `source` as it is now, from one open descriptor. Refuses what is not a regular
 * file (FIFO, directory, device), is empty, or is larger than 4 GiB (logical size) with an error
 * that says so; never blocks on a FIFO. `name` becomes part of the copy's file name. */
struct stage *stage_copy(const char *source, const char *name, struct error *error);
/* The same, refusing a file that others could have written or put there (trust_open). */
struct stage *stage_copy_trusted(const char *source, const char *name, struct error *error);

/* What the loader is to open instead of the copy: a file of these bytes, at a path of its own. stage_bytes
 * stays what was copied. False with error. */
bool stage_replace(struct stage *stage, const void *bytes, size_t size, struct error *error);

/* Delete the copy, and unmap it when nobody holds it any more. */
void stage_free(struct stage *stage);
/* Keep stage_bytes mapped, and no more, until stage_let_go, whatever becomes of the rest. From any thread. */
void stage_hold(struct stage *stage);
void stage_let_go(void *stage);

const char *stage_path(const struct stage *stage);        /* of the private copy */
const void *stage_bytes(const struct stage *stage);       /* mapped read-only */
size_t stage_size(const struct stage *stage);
uint64_t stage_hash(const struct stage *stage);           /* of the content; equal contents, equal hashes */
/* SHA-256 of the whole content. */
void stage_sha256(const struct stage *stage, unsigned char digest[32]);
bool stage_same_content(const struct stage *a, const struct stage *b);   /* exact, byte for byte */
/* Has the source file changed (size, mtime, inode) since the copy began? */
bool stage_is_outdated(const struct stage *stage);
/* Is what lies at this path, a file of that inode, the one that was copied, unchanged? */
bool stage_is_of(const struct stage *stage, const char *path, ino_t inode);

/* The process's directory for copies ("/tmp/hotlua-1234-x7Gh2k"), made at first use: mode 0700, on
 * a file system that allows executable mappings. NULL with error if none can be made. */
const char *stage_directory(struct error *error);
/* Delete the directory; what is still mapped stays mapped. Called once, by main. */
void stage_cleanup(void);

#endif
