/* carry.h: brings the values of an image's variables to the image that follows it, by name and
 * type. Writes only into the new image; dropping the new image undoes it. */
#ifndef HOTLUA_CARRY_H
#define HOTLUA_CARRY_H

#include "error.h"
#include "image.h"

enum carry_mode { CARRY_MERGE, CARRY_ALL, CARRY_NONE, CARRY_LIST };

struct carry_options {
    enum carry_mode mode;
    const char *const *names;            /* CARRY_LIST: NULL-terminated */
    bool may_copy_ahead;     /* the plan may write into the new image already */
    bool is_return;          /* of CARRY_MERGE and CARRY_ALL: the new image has been live before, and its
                              * memory is as it was when it was replaced */
};

enum carry_verdict {
    CARRY_KEPT, CARRY_CONVERTED, CARRY_RESET, CARRY_CONFLICT, CARRY_REPOINTED, CARRY_HELD,
    CARRY_HELD_OBJECT,       /* also in the list of what is held, but what is kept is memory, not the image */
    CARRY_RESTARTED,         /* is reset as well: thread-local, and the same in the code as before */
    CARRY_VERDICTS
};

/* One line of a report's list: a path ("table.rows[3].limit") and, where there is one, the reason. */
typedef void carry_finding(void *context, enum carry_verdict verdict, const char *path, const char *why);

struct carry;

/* Pair the variables of both images and compile how each is carried. Reads no value, so it may run
 * on the loader thread while the old image is in use. */
struct carry *carry_plan(struct image *old_image, struct image *new_image,
                         const struct carry_options *options, struct error *error);
/* Takes back what the plan has copied ahead: the new image has its initial values. */
void carry_forget_ahead(struct carry *carry);
/* Carry the values, calling `finding` for each variable or leaf of note. On the owner's thread, with no
 * call inside the old image's plugin running meanwhile. False with error if a value does not fit. Typed heap
 * objects get copies; pointers in those that stay lead to what is new from here on. */
bool carry_run(struct carry *carry, carry_finding *finding, void *context, struct error *error);
/* The new image is live: the copies of heap objects take over. has_moved_on: the old one is to end without
 * its destructors, since the new one has values of its. */
void carry_commit(struct carry *carry, bool has_moved_on);
/* Without a commit every heap object is as it was before the run. */
void carry_free(struct carry *carry);

/* What carry_run would say of a reload, from types alone (for hotlua check and change:diff). */
void carry_describe(struct carry *carry, carry_finding *finding, void *context);

#endif
