/* carry_pointer.c: pointers into the old image: what they point to, and where that is in the new
 * one. Strings are found by their text, in carry_string.c. */
#include "carry_places.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

/* ---- Making the list ---- */

/* The one symbol of the new image that has the name, the local ones told apart by their file. */
static const struct carry_symbol *find_partner(const struct carry_symbols *symbols,
                                               const struct carry_symbol *old)
{
    const struct carry_symbol *only = NULL, *same = NULL;
    size_t low = 0, high = symbols->count, candidates = 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(symbols->list[middle].name, old->name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < symbols->count && strcmp(symbols->list[low].name, old->name) == 0; low++) {
        const struct carry_symbol *symbol = &symbols->list[low];
        if (symbol->is_function != old->is_function)
            continue;
        only = symbol;
        candidates++;
        bool is_of_file = symbol->file && old->file && strcmp(symbol->file, old->file) == 0;
        if (symbol->is_local == old->is_local && (!old->is_local || is_of_file))
            same = symbol;
    }
    return same ? same : candidates == 1 ? only : NULL;
}

static void add_variable(struct carry_places *places, struct carry *carry, size_t i)
{
    const struct variable *old = &carry->old_variables[i], *new = carry->partners[i];
    if (!old->address)
        return;
    struct carry_place place = {
        .start = (uintptr_t)old->address, .size = old->size, .name = old->name,
            .from_type = old->type,
    };
    const struct carry_symbol *symbol = carry_symbol_at(&carry->old_symbols, place.start);
    if (symbol && symbol->size > place.size)
        place.size = symbol->size;
    if (new && new->address) {
        symbol = carry_symbol_at(&carry->new_symbols, (uintptr_t)new->address);
        place.new_start = (uintptr_t)new->address;
        place.new_size = symbol && symbol->size > new->size ? symbol->size : new->size;
        place.to_type = new->type;
    }
    places->list[places->count++] = place;
}

static void add_symbol(struct carry_places *places, const struct carry *carry,
                       const struct carry_symbol *old)
{
    const struct carry_symbol *new = find_partner(&carry->new_symbols, old);
    places->list[places->count++] = (struct carry_place){
        .start = old->address, .size = old->size, .name = old->name,
            .is_function = old->is_function,
        .new_start = new ? new->address : 0, .new_size = new ? new->size : 0,
    };
}

/* At one address what has a counterpart, and then a type, comes first. */
static int compare_places(const void *a, const void *b)
{
    const struct carry_place *left = a, *right = b;
    if (left->start != right->start)
        return left->start < right->start ? -1 : 1;
    if (!left->new_start != !right->new_start)
        return left->new_start ? -1 : 1;
    return (right->from_type != NULL) - (left->from_type != NULL);
}

/* Of the names of one place the best stays. */
static void drop_aliases(struct carry_places *places)
{
    size_t used = 0;
    for (size_t i = 0; i < places->count; i++)
        if (used == 0 || places->list[used - 1].start != places->list[i].start)
            places->list[used++] = places->list[i];
    places->count = used;
}

struct carry_places *carry_make_places(struct carry *carry)
{
    struct carry_places *places = memory_take(sizeof *places);
    size_t most = carry->old_count + carry->old_symbols.count + 1;
    struct carry_place *list = memory_take_array(most, sizeof *list);
    places->list = list;
    carry_sort_symbols(&carry->old_symbols);
    carry_sort_symbols(&carry->new_symbols);
    for (size_t i = 0; i < carry->old_count; i++)
        add_variable(places, carry, i);
    for (size_t i = 0; i < carry->old_symbols.count; i++)
        add_symbol(places, carry, &carry->old_symbols.list[i]);
    qsort(list, places->count, sizeof *list, compare_places);
    drop_aliases(places);
    carry_index_strings(&places->strings, carry->old_image, carry->new_image);
    return places;
}

void carry_free_places(struct carry_places *places)
{
    if (!places)
        return;
    carry_free_strings(&places->strings);
    free(places->list);
    free(places);
}

/* ---- Inside a variable ---- */

static bool is_aggregate(const struct type *type)
{
    return type->kind == TYPE_STRUCT || type->kind == TYPE_UNION || type->kind == TYPE_ARRAY;
}

static bool same_shape(const struct type *type, const struct type *pointee)
{
    if (type->kind != pointee->kind)
        return false;
    if (type->kind == TYPE_STRUCT || type->kind == TYPE_UNION || type->kind == TYPE_ENUM)
        return type->name && pointee->name ? strcmp(type->name, pointee->name) == 0
                                           : type->size == pointee->size;
    return type->kind != TYPE_ARRAY || type->size == pointee->size;
}

/* Does the type begin with a part of the pointee's type? */
static bool reaches(const struct type *type, const struct type *pointee, unsigned depth)
{
    type = type_complete(type->plain);
    if (same_shape(type, pointee))
        return true;
    if (depth > MAX_DEPTH)
        return false;
    if (type->kind == TYPE_ARRAY)
        return reaches(type->target, pointee, depth + 1);
    for (uint64_t i = 0; (type->kind == TYPE_STRUCT || type->kind == TYPE_UNION) &&
         i < type->count; i++)
        if (type->fields[i].offset == 0 && reaches(type->fields[i].type, pointee, depth + 1))
            return true;
    return false;
}

/* A pointer to the start of this: does it mean this, or a part of it that also begins here? */
static bool stops_here(const struct type *type, const struct type *pointee)
{
    return !is_aggregate(type) || same_shape(type, pointee) || !reaches(type, pointee, 0);
}

static bool map_offset(const struct type *from, const struct type *to, uint64_t offset,
                       const struct type *pointee, unsigned depth, uint64_t *result);

static bool map_element(const struct type *from, const struct type *to, uint64_t offset,
                        const struct type *pointee, unsigned depth, uint64_t *result)
{
    const struct type *old = type_complete(from->target->plain),
        *new = type_complete(to->target->plain);
    if (!old->size)
        return false;
    uint64_t index = offset / old->size;
    bool is_end = !from->is_flexible && index == from->count;
    if (is_end) {
        *result += to->count * new->size;
        return offset % old->size == 0;
    }
    if (!to->is_flexible && index >= to->count)
        return false;
    *result += index * new->size;
    return map_offset(old, new, offset % old->size, pointee, depth + 1, result);
}

static bool map_field(const struct type *from, const struct type *to, uint64_t offset,
                      const struct type *pointee, unsigned depth, uint64_t *result)
{
    for (uint64_t i = 0; i < from->count; i++) {
        const struct field *old = &from->fields[i];
        const struct type *type = type_complete(old->type->plain);
        uint64_t at = 0, size = type->is_flexible ? UINT64_MAX - old->offset : type->size;
        if (offset < old->offset || offset - old->offset >= size || old->bit_size)
            continue;
        if (!old->name) {
            if (map_offset(type, to, offset - old->offset, pointee, depth + 1, result))
                return true;
            continue;
        }
        const struct field *new = type_find_field(to, old->name, &at);
        uint64_t inner = 0;
        if (!new || !map_offset(type, type_complete(new->type->plain), offset - old->offset,
                                pointee,
                                depth + 1, &inner))
            continue;
        *result += at + inner;
        return true;
    }
    if (offset != from->size)
        return false;
    *result += to->size;                 /* just behind it */
    return true;
}

/* Adds to `result` the offset in the new type. */
static bool map_offset(const struct type *from, const struct type *to, uint64_t offset,
                       const struct type *pointee, unsigned depth, uint64_t *result)
{
    if (depth > MAX_DEPTH)
        return false;
    if (offset == 0 && stops_here(from, pointee) && is_aggregate(from) == is_aggregate(to))
        return true;
    if (from->kind == TYPE_ARRAY && to->kind == TYPE_ARRAY)
        return map_element(from, to, offset, pointee, depth, result);
    if (from->kind == TYPE_STRUCT && to->kind == TYPE_STRUCT)
        return map_field(from, to, offset, pointee, depth, result);
    if (is_aggregate(from) != is_aggregate(to) || offset > to->size)
        return false;
    *result += offset;
    return true;
}

/* Parts that moved into a nested struct or out of one are known to the program only. */
static bool map_by_program(const struct carry_program *program, uint64_t offset, uint64_t *result)
{
    for (size_t i = 0; i < program->leaves.count; i++) {
        const struct carry_step *step = &program->leaves.list[i];
        uint64_t span = step->kind == STEP_LOOP ? step->count * step->from_size : step->from_size;
        if (step->kind == STEP_GONE || step->kind == STEP_NEW || step->kind == STEP_LOST ||
            offset < step->from || offset - step->from >= span)
            continue;
        uint64_t inside = offset - step->from;
        *result += step->to;
        if (step->kind == STEP_LOOP) {
            *result += inside / step->from_size * step->to_size;
            return map_by_program(step->inner, inside % step->from_size, result);
        }
        *result += inside;
        return inside < step->to_size;
    }
    return false;
}

static const struct carry_program *program_of(const struct carry *carry,
                                              const struct carry_place *place)
{
    for (size_t i = 0; i < carry->pair_count; i++)
        if ((uintptr_t)carry->pairs[i].from == place->start)
            return carry->pairs[i].program;
    return NULL;
}

bool carry_map_offset(const struct carry_program *program, uint64_t offset, const struct type *pointee,
                      uint64_t *result)
{
    *result = 0;
    if (map_offset(program->from_type, program->to_type, offset, pointee, 0, result))
        return *result <= program->to_size;
    *result = 0;
    return map_by_program(program, offset, result);
}

static bool map_into(const struct carry *carry, const struct carry_place *place, uint64_t offset,
                     const struct type *pointee, uint64_t *result)
{
    *result = 0;
    if (!place->new_start || (place->is_function && offset > 0))
        return false;
    if (place->is_function || !place->from_type || !place->to_type) {
        *result = offset;
        return offset == 0 || place->size == place->new_size;
    }
    const struct type *from = type_complete(place->from_type->plain);
    const struct type *to = type_complete(place->to_type->plain);
    if (map_offset(from, to, offset, pointee, 0, result))
        return *result <= place->new_size;
    *result = 0;
    const struct carry_program *program = program_of(carry, place);
    return program && map_by_program(program, offset, result);
}

/* ---- Repointing ---- */

/* The last place that begins at or before the address, NULL if none. */
static const struct carry_place *place_at(const struct carry_places *places, uintptr_t address)
{
    size_t low = 0, high = places->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (places->list[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &places->list[low - 1] : NULL;
}

/* An address just behind an array may also be the next variable's: the pointee's type decides. */
static const struct carry_place *choose_place(const struct carry_places *places, uintptr_t address,
                                              const struct type *pointee)
{
    const struct carry_place *place = place_at(places, address);
    if (!place || address - place->start > place->size)
        return NULL;
    if (place->start != address || place == places->list || pointee->kind == TYPE_FUNCTION)
        return place;
    const struct carry_place *before = place - 1;
    bool is_end = before->start + before->size == address && before->from_type &&
        !before->is_function;
    bool is_start = !place->from_type || reaches(place->from_type, pointee, 0);
    return is_end && !is_start && reaches(before->from_type, pointee, 0) ? before : place;
}

enum carry_pointing carry_repoint(struct carry *carry, const char **pointer,
                                  const struct type *pointee, char said[160])
{
    uintptr_t address = (uintptr_t)*pointer;
    uint64_t offset;
    if (!image_contains(carry->old_image, *pointer))
        return POINTS_ELSEWHERE;
    if (!carry->places)
        carry->places = carry_make_places(carry);
    if (!carry->places)
        return POINTS_STUCK;
    pointee = type_complete(pointee->plain);
    const struct carry_place *place = choose_place(carry->places, address, pointee);
    if (place && map_into(carry, place, address - place->start, pointee, &offset)) {
        *pointer = (const char *)place->new_start + offset;
        if (said)
            snprintf(said, 160, address == place->start ? "%.120s" : "inside %.120s", place->name);
        return POINTS_MOVED;
    }
    const char *string = carry_find_string(&carry->places->strings, *pointer);
    if (string) {
        *pointer = string;
        if (said)
            snprintf(said, 160, "\"%.120s\"", string);
        return POINTS_MOVED;
    }
    if (said && place)
        snprintf(said, 160, "'%.100s' has no counterpart in the new image", place->name);
    else if (said)
        snprintf(said, 160, "what it points to has no counterpart in the new image");
    return POINTS_STUCK;
}

/* ---- What can be pointed to at all ---- */

static bool has_part(const struct type *type, const struct type *pointee, unsigned depth)
{
    type = type_complete(type->plain);
    if (same_shape(type, pointee) || depth > MAX_DEPTH)
        return true;
    if (type->kind == TYPE_ARRAY)
        return has_part(type->target, pointee, depth + 1);
    for (uint64_t i = 0; (type->kind == TYPE_STRUCT || type->kind == TYPE_UNION) && i < type->count; i++)
        if (has_part(type->fields[i].type, pointee, depth + 1))
            return true;
    return false;
}

/* Does any variable, also one that the debug info does not describe, have room for it? */
static bool has_variable_with(struct carry *carry, const struct type *pointee)
{
    for (size_t i = 0; i < carry->old_count; i++) {
        const struct variable *variable = &carry->old_variables[i];
        if (variable->type ? has_part(variable->type, pointee, 0) : variable->size >= pointee->size)
            return true;
    }
    for (size_t i = 0; i < carry->old_symbols.count; i++) {
        const struct carry_symbol *symbol = &carry->old_symbols.list[i];
        if (strncmp(symbol->name, "__compound_literal", 18) == 0 && symbol->size >= pointee->size)
            return true;
    }
    return false;
}

bool carry_may_hold(struct carry *carry, const struct type *pointee)
{
    pointee = type_complete(pointee->plain);
    if (pointee->kind == TYPE_FUNCTION || pointee->kind == TYPE_VOID || pointee->is_char)
        return true;
    for (size_t i = 0; i < carry->pointee_count; i++)
        if (carry->pointees[i] == pointee)
            return carry->are_held[i];
    size_t count = carry->pointee_count + 1;
    carry->pointees = memory_resize(carry->pointees, count * sizeof *carry->pointees);
    carry->are_held = memory_resize(carry->are_held, count * sizeof *carry->are_held);
    carry->pointees[count - 1] = pointee;
    carry->are_held[count - 1] = has_variable_with(carry, pointee);
    carry->pointee_count = count;
    return carry->are_held[count - 1];
}
