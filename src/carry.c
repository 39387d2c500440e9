/* carry.c: plans and runs the carry of one image's variables to the next. Writes only into the new
 * image. */
#include "carry_heap.h"

#include <stdlib.h>
#include <string.h>

const char carry_zeros[CARRY_BLOCK];

static bool read_images(struct carry *carry)
{
    if (!carry_read_symbols(carry->old_image, &carry->old_symbols) ||
        !carry_read_symbols(carry->new_image, &carry->new_symbols))
        return false;
    carry->old_variables = image_variables(carry->old_image, &carry->old_count);
    carry->new_variables = image_variables(carry->new_image, &carry->new_count);
    carry->partners = calloc(carry->old_count + 1, sizeof *carry->partners);
    carry->pairs = calloc(carry->old_count + carry->old_symbols.count + 1, sizeof *carry->pairs);
    return carry->partners && carry->pairs;
}

static bool has_pointers(const struct carry_program *program)
{
    for (size_t i = 0; i < program->leaves.count; i++) {
        const struct carry_step *step = &program->leaves.list[i];
        if (step->kind == STEP_POINTER || (step->kind == STEP_LOOP && has_pointers(step->inner)))
            return true;
    }
    return false;
}

/* What the run would otherwise have to do on the owner's thread. */
static void prepare_run(struct carry *carry)
{
    for (size_t i = 0; i < carry->pair_count && !carry->places; i++)
        if (carry->pairs[i].program && has_pointers(carry->pairs[i].program))
            carry->places = carry_make_places(carry);
    carry_prepare_memory(carry);
    carry_heap_prepare(carry);
}

struct carry *carry_plan(struct image *old_image, struct image *new_image,
                         const struct carry_options *options, struct error *error)
{
    struct carry *carry = calloc(1, sizeof *carry);
    if (!carry) {
        error_set_stage(error, "carry", "%s: out of memory", new_image->source);
        return NULL;
    }
    carry->old_image = image_retain(old_image);
    carry->new_image = image_retain(new_image);
    if (!read_images(carry)) {
        error_set_stage(error, "carry", "%s: out of memory", new_image->source);
        carry_free(carry);
        return NULL;
    }
    carry->is_return = options->is_return;
    carry_pair_variables(carry, options);
    if (old_image->is_mapped && new_image->is_mapped)
        prepare_run(carry);
    if (options->may_copy_ahead && old_image->is_mapped && new_image->is_mapped)
        carry_copy_ahead(carry);
    new_image->has_moved_on = carry->ahead != NULL;
    return carry;
}

void carry_free(struct carry *carry)
{
    if (!carry)
        return;
    carry_end_ahead(carry);
    carry_heap_free(carry->heap);
    carry_free_places(carry->places);
    carry_free_programs(&carry->compiler);
    carry_free_symbols(&carry->old_symbols);
    carry_free_symbols(&carry->new_symbols);
    free(carry->partners);
    free(carry->pairs);
    free(carry->pointees);
    free(carry->are_held);
    image_release(carry->old_image);
    image_release(carry->new_image);
    free(carry);
}

/* To ask the kernel which pages were written takes longer than to look at a few. */
static bool is_worth_asking(const struct carry *carry)
{
    uint64_t size = 0;
    for (size_t i = 0; i < carry->pair_count; i++)
        if (!carry->pairs[i].is_ahead && carry->pairs[i].treatment != TREAT_RESET)
            size += carry->pairs[i].from_size;
    return size > 16 * 4096;
}

bool carry_run(struct carry *carry, carry_finding *finding, void *context, struct error *error)
{
    struct carry_run run = {.carry = carry, .finding = finding, .context = context, .error = error};
    const struct image *missing = carry->old_image->is_mapped ? carry->new_image : carry->old_image;
    if (!missing->is_mapped)
        return error_set_stage(error, "carry", "%s: the %s image (generation %u) is not loaded",
                               carry->new_image->source, missing == carry->old_image ? "old"
                                   : "new",
                               missing->generation);
    run.base = malloc(3 * CARRY_BLOCK);
    if (!run.base)
        return error_set_stage(error, "carry", "%s: out of memory", carry->new_image->source);
    carry->new_image->has_moved_on = true;   /* what it holds from here is the old one's until the commit */
    run.scratch = run.base + CARRY_BLOCK;
    run.initial = run.scratch + CARRY_BLOCK;
    if (is_worth_asking(carry)) {
        run.old_written = pristine_ask_written(carry->old_image->pristine);
        run.new_written = pristine_ask_written(carry->new_image->pristine);
    }
    if (carry->is_return)
        pristine_restore_part(carry->new_image->pristine, (const void *)carry->new_symbols.transient.start,
                              (const void *)carry->new_symbols.transient.end);
    bool fits = carry_heap_begin(&run);
    for (size_t i = 0; fits && i < carry->pair_count; i++)
        fits = carry_merge_pair(&run, &carry->pairs[i]);
    fits = fits && carry_heap_run(&run);
    explicit_bzero(run.base, 3 * CARRY_BLOCK);           /* heap_sweep is not to find addresses there */
    carry_end_ahead(carry);
    free(run.base);
    free(run.old_written);
    free(run.new_written);
    return fits;
}

void carry_commit(struct carry *carry, bool has_moved_on)
{
    carry->old_image->has_moved_on = has_moved_on;
    carry->new_image->has_moved_on = false;
    if (carry->heap)
        carry_heap_commit(carry->heap);
}

/* ---- From types alone ---- */

/* "the new enum has no BLUE, GREEN", "" if it has them all. */
static void list_gone_names(const struct carry_step *step, char *text, size_t size)
{
    size_t length = 0, left_off = 0;
    text[0] = 0;
    for (size_t i = 0; step->names && i < step->names->count; i++) {
        const struct carry_name *name = &step->names->list[i];
        if (!name->is_gone)
            continue;
        if (length + 80 > size)
            left_off++;
        else
            length += (size_t)snprintf(text + length, size - length, "%s %.50s",
                                       length ? "," : "the new enum has no", name->name);
    }
    if (left_off > 0)
        snprintf(text + length, size - length, ", and %zu more", left_off);
}

static void describe_losses(const struct carry_program *program, const char *prefix,
                            carry_finding *finding, void *context)
{
    for (size_t i = 0; i < program->leaves.count; i++) {
        const struct carry_step *step = &program->leaves.list[i];
        char path[512], why[240];
        snprintf(path, sizeof path, "%.250s%.250s", prefix, step->path);
        bool is_cut = step->kind == STEP_TEXT && step->to_size < step->from_size;
        if (step->kind == STEP_LOOP) {
            strcat(path, "[]");
            describe_losses(step->inner, path, finding, context);
        } else if (step->kind == STEP_GONE || step->kind == STEP_LOST) {
            if (step->kind == STEP_GONE && step->from_count > 0)
                snprintf(path + strlen(path), 12, "[%llu]",
                         (unsigned long long)step->to_count % 100000000);
            finding(context, CARRY_RESET, path, step->why);
        } else if (is_cut) {
            finding(context, CARRY_RESET, path, "the array is shorter: a longer text is cut");
        }
        list_gone_names(step, why, sizeof why);
        if (*why)
            finding(context, CARRY_RESET, path, why);
    }
}

void carry_describe(struct carry *carry, carry_finding *finding, void *context)
{
    for (size_t i = 0; i < carry->pair_count; i++) {
        const struct carry_pair *pair = &carry->pairs[i];
        if (pair->is_restarted)
            finding(context, CARRY_RESTARTED, pair->name, NULL);
        if (pair->treatment == TREAT_RESET)
            finding(context, CARRY_RESET, pair->name, pair->why);
        else if (!pair->change)
            finding(context, CARRY_KEPT, pair->name, NULL);
        else
            finding(context, CARRY_CONVERTED, pair->name, pair->change);
        if (pair->treatment != TREAT_RESET && pair->program)
            describe_losses(pair->program, pair->name, finding, context);
    }
}
