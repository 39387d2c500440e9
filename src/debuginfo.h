/* debuginfo.h: reads DWARF 4 and 5 of one file (also compressed, also in a separate file found by
 * build-id or debuglink) through libdw: types of functions and variables, and source lines.
 * What is not asked for is not read. Safe from any thread: one lock per file (its type table's). */
#ifndef HOTLUA_DEBUGINFO_H
#define HOTLUA_DEBUGINFO_H

#include "error.h"
#include "types.h"

struct debuginfo;

struct debug_variable {
    const char *name;        /* "limit", "file_static", or "function.static_inside" */
    const struct type *type;
    uint64_t address;        /* as in the file: add the load bias. For a thread-local: offset in its block */
    bool is_thread_local;
    bool is_external;        /* has external linkage in C (it may still not be exported) */
    const char *file;        /* base name of its source file; tells same-named statics apart */
};

struct debug_line {
    const char *file;        /* as the debug info spells it, absolute where it can be made so */
    int line;
    const char *function;    /* innermost function whose code this is, NULL if unknown */
    uint64_t start;          /* where that one's code begins, as the file's addresses */
};

/* A file's bytes that the caller has mapped: they stay until `release(owner)` is called. */
struct debug_bytes {
    const void *bytes;
    size_t size;
    void (*release)(void *owner);
    void *owner;
};

/* Open the debug information of the ELF file at `path`. Its bytes are read from `mapped` (may be NULL) where
 * they can be, which is released in the end, at once on failure. `source_directory` (may be NULL) is where
 * the file came from, for debuglink. NULL with `error` filled if there is none or it is unreadable
 * ("no debug info: compile with -g"). A reference to the type table is held by the result. */
struct debuginfo *debuginfo_open(const char *path, const struct debug_bytes *mapped,
                                 const char *source_directory, struct error *error);
void debuginfo_close(struct debuginfo *debug);

/* The table that every type below belongs to. Retain it to outlive the debuginfo: lazy types go on
 * being read, since the table keeps the file open. */
struct types *debuginfo_types(struct debuginfo *debug);

/* The TYPE_FUNCTION of the function whose symbol is `name`, at file address `address` (used to find
 * its unit quickly; 0 if unknown). NULL with error if the debug info does not describe it. */
const struct type *debuginfo_function(struct debuginfo *debug, const char *name, uint64_t address,
                                      struct error *error);

/* The variable of that symbol name; file address as a hint, 0 if unknown. The result lives as long
 * as the debuginfo. NULL with error if not described. */
const struct debug_variable *debuginfo_variable(struct debuginfo *debug, const char *name,
                                                uint64_t address, struct error *error);

/* Every variable with static storage that the file defines, also statics in functions; read once,
 * then cached. Returns the array (sorted by name), NULL with *count 0 if there are none. */
const struct debug_variable *debuginfo_variables(struct debuginfo *debug, size_t *count);

/* A named type: "point", "struct point", "union u", "enum colour", a typedef name. NULL if absent. */
const struct type *debuginfo_type(struct debuginfo *debug, const char *name);

/* Call `each` for every named struct, union, enum and typedef (for inspect and stubs), until it
 * returns false. */
void debuginfo_each_type(struct debuginfo *debug,
                         bool (*each)(void *context, const struct type *), void *context);

/* The value of an enumerator named anywhere in the file; false if there is none. */
bool debuginfo_enumerator(struct debuginfo *debug, const char *name, int64_t *value);

/* Source position of file address `address`. False if unknown. Strings live as long as `debug`. */
bool debuginfo_line(struct debuginfo *debug, uint64_t address, struct debug_line *line);

#endif
