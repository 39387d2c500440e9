/* carry_compile.h: what compiling structs shares with compiling the rest. Of the carry only. */
#ifndef HOTLUA_CARRY_COMPILE_H
#define HOTLUA_CARRY_COMPILE_H

#include "carry_internal.h"

enum { CARRY_DEPTH = 64 };   /* of types in types; the deeper ones are lost */

struct carry_builder {
    struct carry_compiler *compiler;
    struct carry_program *program;
    unsigned depth;
};

struct carry_part {          /* where a part of the element is, on both sides */
    uint64_t from, to;
    const char *path;
};

/* The fields of one struct to those of another of the same name. */
void carry_add_struct(struct carry_builder *builder, const struct type *from, const struct type *to,
                      struct carry_part place);
/* A field, which may be a bit-field. */
void carry_add_field(struct carry_builder *builder, const struct field *from,
                     const struct field *to, struct carry_part place);
/* A field that only one of the types has. */
void carry_add_unpaired(struct carry_builder *builder, const struct field *field, bool is_old,
                        struct carry_part place);
/* The path with the field's name behind it. */
const char *carry_join_path(struct carry_builder *builder, const char *path,
                            const struct field *field);

#endif
