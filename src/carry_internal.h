/* carry_internal.h: what the parts of the carry share. A plan pairs the variables of two images;
 * for
 * each pair of types there is one program, a list of steps that bring an element of the old type
 * to the new one. */
#ifndef HOTLUA_CARRY_INTERNAL_H
#define HOTLUA_CARRY_INTERNAL_H

#include "carry.h"
#include "pristine.h"

#include <stdio.h>

/* Symbols (carry_symbols.c) ------------------------------------------------------------------- */

struct carry_symbol {        /* a function or variable of .symtab,
    or of .dynsym in a stripped file */
    const char *name;
    const char *file;        /* source of a local one, NULL: unknown */
    uintptr_t address;       /* in memory */
    uint64_t size;
    bool is_function, is_local;
};

struct carry_area { uintptr_t start, end; };

struct carry_symbols {
    struct carry_symbol *list;           /* sorted by name once carry_sort_symbols was called */
    size_t count;
    const struct carry_symbol **by_address;          /* NULL until then */
    struct carry_area state, transient;  /* of the markers in hotlua/plugin.h */
};

bool carry_read_symbols(const struct image *image, struct carry_symbols *symbols);
/* Sort them, once, for finding by name and by address. */
void carry_sort_symbols(struct carry_symbols *symbols);
void carry_free_symbols(struct carry_symbols *symbols);
/* The variable that begins at the address, NULL if none is known. Sorts them. */
const struct carry_symbol *carry_symbol_at(struct carry_symbols *symbols, uintptr_t address);
static inline bool carry_in_area(const struct carry_area *area, uintptr_t address)
{
    return address >= area->start && address < area->end;
}

/* Programs (carry_compile.c) ------------------------------------------------------------------ */

enum carry_step_kind {
    STEP_COPY,               /* bytes as they are */
    STEP_NUMBER,             /* through `kernel` */
    STEP_GENERAL,            /* bit-fields, enumerators by name, rare numbers */
    STEP_TEXT,               /* char arrays: one value whatever the lengths */
    STEP_POINTER,
    STEP_LOOP,               /* `inner` for each of `count` elements */
    STEP_GONE,               /* `count` elements that have no place in the new type */
    STEP_LOST,               /* the types have nothing in common; `why` */
    STEP_NEW,                /* only in the new type: its initial value stays */
};

/* Converts `count` numbers; returns how many, less than `count` when the next does not fit. */
typedef size_t carry_kernel(const char *from, size_t from_stride, char *to, size_t to_stride,
                            size_t count);

struct carry_program;

struct carry_names {         /* what the values of an enum become, sorted by `from` */
    size_t count;
    bool is_renumbered;
    struct carry_name { int64_t from, to; const char *name; bool is_gone; } list[];
};

struct carry_step {
    enum carry_step_kind kind;
    uint16_t from_bit, from_bits, to_bit, to_bits;   /* bit-fields; bits 0: not one */
    bool is_same;            /* the value needs no conversion */
    bool may_hide_pointers;  /* copied bytes in which an address may be that nothing proves one */
    uint64_t from, to;       /* offset in the element */
    uint64_t from_size, to_size;         /* bytes of the leaf, or of one element of a loop */
    uint64_t count;          /* loop, gone: elements */
    uint64_t from_count, to_count;       /* of the arrays that a loop is about */
    const struct carry_program *inner;
    carry_kernel *kernel;
    const struct carry_names *names;
    const struct type *from_type, *to_type;
    const char *path;        /* within the element: ".rows", "[2].x" */
    const char *why;
};

struct carry_steps {
    struct carry_step *list;
    size_t count, capacity;
};

struct carry_program {
    const struct type *from_type, *to_type;          /* plain */
    uint64_t from_size, to_size;
    struct carry_steps leaves;           /* one for each leaf, in the order of the new type */
    struct carry_steps fast;             /* for converting without looking: runs of copies */
    bool is_regrouped;       /* fields moved into a nested struct, or out of one */
    bool is_same;            /* nothing but pointers and bytes stay where they are */
    bool is_plain;           /* the same, without pointers: a memcpy */
    bool zero_is_zero;       /* zeros become zeros */
    struct carry_program *next;
};

struct carry_compiler {      /* owns all programs and their strings */
    struct carry_program *programs;
    void **owned;
    size_t owned_count, owned_capacity;
};

/* The program for that pair of types. `from_size` and `to_size` are those of the variables, which
 * may be larger than their types: a flexible array at the end. */
const struct carry_program *carry_compile(struct carry_compiler *compiler, const struct type *from,
                                          uint64_t from_size, const struct type *to,
                                              uint64_t to_size);
void carry_free_programs(struct carry_compiler *compiler);
/* A formatted text, or any malloc'ed memory, that goes with the programs. */
const char *carry_text(struct carry_compiler *compiler, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void carry_own(struct carry_compiler *compiler, void *memory);

/* Fill step->kind and what it needs for a pair of scalar types (carry_scalar.c). */
void carry_compile_scalar(struct carry_compiler *compiler, struct carry_step *step);
/* Make the `fast` steps and the claims from the leaves (carry_fast.c). */
void carry_optimize(struct carry_program *program);
void carry_add_step(struct carry_steps *steps, const struct carry_step *step);

/* Values (carry_scalar.c, carry_number.c) ------------------------------------------------------ */

enum carry_result { VALUE_DONE, VALUE_LOST, VALUE_UNFIT };

/* NULL when the pair of types has none. */
carry_kernel *carry_find_kernel(const struct type *from, const struct type *to);
/* Convert one number or enum. Lost, unfit: nothing was written, `said` is the value in words. */
enum carry_result carry_convert_scalar(const struct carry_step *step, const char *from, char *to,
                                       char said[80]);

/* The plan (carry_pair.c) ---------------------------------------------------------------------- */

enum carry_treatment { TREAT_MERGE, TREAT_WHOLE, TREAT_RESET };

struct carry_pair {
    const char *name;
    enum carry_treatment treatment;
    const char *why;         /* of a reset */
    bool is_restarted;       /* see CARRY_RESTARTED */
    const char *change;      /* how the type changed, NULL: it did not */
    char *from, *to;         /* in memory */
    uint64_t from_size, to_size;
    const struct carry_program *program; /* NULL: bytes of an unknown type */
    bool is_initial_same;    /* both images begin with the same value; false: not known */
    bool is_ahead;           /* was copied by carry_copy_ahead */
};

struct carry {
    struct image *old_image, *new_image;
    struct carry_symbols old_symbols, new_symbols;
    struct carry_compiler compiler;
    const struct variable *old_variables, *new_variables;    /* of the images, sorted by name */
    size_t old_count, new_count;
    const struct variable **partners;    /* of each old variable: the new one, or NULL */
    struct carry_pair *pairs;            /* writable variables that are carried or reset */
    size_t pair_count;
    struct carry_places *places;         /* NULL until a pointer may need it */
    bool is_return;          /* see struct carry_options */
    struct carry_ahead *ahead;           /* NULL: nothing was copied ahead */
    struct carry_heap *heap;             /* typed objects while and after they are carried, NULL: none */
    const struct type **pointees;        /* asked of carry_may_hold: the answer is beside it */
    bool *are_held;
    size_t pointee_count;
};

/* Pair the variables of both images as the options say. */
void carry_pair_variables(struct carry *carry, const struct carry_options *options);

/* Pointers (carry_pointer.c) ------------------------------------------------------------------- */

enum carry_pointing { POINTS_ELSEWHERE, POINTS_MOVED, POINTS_STUCK };

struct carry_places;
struct carry_places *carry_make_places(struct carry *carry);
void carry_free_places(struct carry_places *places);
/* Where in the new image does the pointer belong? `pointee` is what it points to. Moved:
 * `*pointer` is
 * set. Otherwise it is left; `said` (may be NULL) receives the symbol or the reason. */
enum carry_pointing carry_repoint(struct carry *carry, const char **pointer,
                                  const struct type *pointee, char said[160]);
/* The offset in an element of the new type of what a pointer to `pointee` points to, `offset` bytes into
 * an element of the old one. False: it has no counterpart. */
bool carry_map_offset(const struct carry_program *program, uint64_t offset, const struct type *pointee,
                      uint64_t *result);
/* May a pointer to such a type lead into the old image? */
bool carry_may_hold(struct carry *carry, const struct type *pointee);

/* Memory (carry_prepare.c) --------------------------------------------------------------------- */

/* Make the new image's pages ready that large variables will fill, so that the run need not wait
 * for
 * them. May run while the old image is in use: it asks which pages are there, and reads none. */
void carry_prepare_memory(const struct carry *carry);

/* Copying ahead (carry_ahead.c) ---------------------------------------------------------------- */

/* Copy what is large and goes over as bytes, while the program runs and changes it. */
void carry_copy_ahead(struct carry *carry);
/* Copy what was written since. On the owner's thread, in the run. */
void carry_catch_up(const struct carry_pair *pair);
/* Let go of what tracks the writes. */
void carry_end_ahead(struct carry *carry);

/* Running (carry_merge.c, carry_large.c, carry_step.c, carry_report.c)
 * ---------------------------- */

enum { CARRY_BLOCK = 8192, CARRY_FRAMES = 72, CARRY_LISTED = 100 };

struct carry_frame {         /* of the path to the value being looked at */
    const char *path;
    bool has_index;
    uint64_t index;
};

struct carry_run {
    struct carry *carry;
    carry_finding *finding;
    void *context;
    struct error *error;
    unsigned char *old_written, *new_written;        /* see pristine_ask_written */
    const struct carry_pair *pair;
    struct carry_frame frames[CARRY_FRAMES];
    unsigned depth;
    uint64_t listed[CARRY_VERDICTS];     /* of this pair, also those that were left off */
    bool is_quiet;           /* trying a conversion: nothing is reported */
    bool is_touched, took_new;           /* some leaf of the pair was written, was not kept */
    bool is_reset;           /* the variable as a whole */
    char *base, *scratch, *initial;      /* CARRY_BLOCK bytes each */
};

extern const char carry_zeros[CARRY_BLOCK];

/* Carry the pair's value. False: a value does not fit, the error says which. */
bool carry_merge_pair(struct carry_run *run, const struct carry_pair *pair);

/* `count` elements of any size, one block after the other (carry_large.c). `first`: the number of the
 * first. */
bool carry_elements(struct carry_run *run, const struct carry_program *program, const char *from, char *to,
                    uint64_t first, uint64_t count);
/* At most CARRY_BLOCK bytes of them on either side. */
bool carry_block(struct carry_run *run, const struct carry_program *program, const char *from,
                 char *to,
                 uint64_t first, uint64_t count);
/* Is a rollback to leave the part as it is: touched neither before the image was replaced nor since? */
bool carry_is_as_before(const struct carry_run *run, const char *to, uint64_t size);
/* Is the new memory all zero? Pages that nobody wrote are not even read. At most CARRY_BLOCK
 * bytes. */
bool carry_is_new_zero(const struct carry_run *run, const char *to, uint64_t size);
/* Does the old initial value (`base`, NULL: zeros) of `count` elements become the new one? Not being
 * able to say counts as no. At most CARRY_BLOCK bytes on either side. */
bool carry_is_initial_same(struct carry_run *run, const struct carry_program *program,
                           const char *base, const char *to, uint64_t count);
/* The same of any number of elements at `from`, where nothing but pointers changes. */
bool carry_begins_same(struct carry_run *run, const struct carry_program *program, const char *from,
                       const char *to, uint64_t count);
/* Merge one leaf. False: it does not fit, or memory is out. */
bool carry_merge_leaf(struct carry_run *run, const struct carry_step *step, const char *from,
                      const char *base, char *to);
void carry_report_conflict(struct carry_run *run, const struct carry_step *step);

/* `count` elements through one step. `base` is what they were initially, NULL: zeros. False:
 * unfit. */
bool carry_do_step(struct carry_run *run, const struct carry_step *step, const char *from,
                   const char *base, char *to, const struct carry_program *strides, uint64_t first,
                   uint64_t count);
bool carry_do_steps(struct carry_run *run, const struct carry_steps *steps, const char *from,
                    const char *base, char *to, const struct carry_program *strides, uint64_t first,
                    uint64_t count);
/* One leaf. What comes of it is reported unless the run is quiet. */
enum carry_result carry_do_leaf(struct carry_run *run, const struct carry_step *step,
                                const char *from,
                                const char *base, char *to);
/* Where does the pointer lead in the new image, or among objects that moved? What becomes of it is reported,
 * that it leads elsewhere now if it `is_changed` from its initial value. */
enum carry_pointing carry_follow(struct carry_run *run, const struct carry_step *step, const char **pointer,
                                 bool is_changed);
/* Is the leaf another than its initial value (NULL: zeros)? */
bool carry_leaf_differs(const struct carry_step *step, const char *from, const char *base);
/* Report addresses among the bytes that lead into the old image. */
void carry_scan_bytes(struct carry_run *run, const char *path, const char *from, uint64_t size);

/* Report a finding at the current place; `path` is the rest of the way. */
void carry_report(struct carry_run *run, enum carry_verdict verdict, const char *path,
                  const char *why);
/* That a value is lost: of an array's elements that have no place any more the one of that number. */
void carry_report_lost(struct carry_run *run, const struct carry_step *step, uint64_t element);
/* How many findings of the pair were left off, one line for each verdict. */
void carry_report_rest(struct carry_run *run);
bool carry_report_unfit(struct carry_run *run, const struct carry_step *step, const char *said);
/* How the program's types differ, in words; NULL when they do not. */
const char *carry_describe_change(struct carry_compiler *compiler,
                                  const struct carry_program *program);

#endif
