/* call_record.h: the arguments of a plugin's last calls, for a rehearsal that makes them again. Only plugins
 * that ask for it are recorded; the calls of others do not come here. */
#ifndef HOTLUA_CALL_RECORD_H
#define HOTLUA_CALL_RECORD_H

#include "slot.h"

#include <lua.h>

struct recorder;

struct recorded_value {
    int type;                /* LUA_T… */
    bool is_integer;
    union {
        lua_Integer integer;
        lua_Number number;
        char *text;          /* owned */
    };
    size_t size;
};

/* Keeps the last `count` calls. Lives as long as its plugin, which is for ever. */
struct recorder *recorder_new(unsigned count);

/* The entry of the slots of a recorded plugin: notes the arguments and calls what is bound. */
slot_entry call_recorded;

/* Call `each` for the calls of which all arguments are nil, booleans, numbers or strings of up to 4 kB,
 * oldest first. Returns how many others there were. Not while a call is in progress. */
unsigned recorder_each(struct recorder *recorder,
                       void (*each)(void *context, const char *name, const struct recorded_value *values,
                                    unsigned count),
                       void *context);
/* [-0 +1] */
void recorder_push(lua_State *L, const struct recorded_value *value);

#endif
