/* callback_entry.h: the processor's side of callbacks whose arguments are all in registers: one file
 * each (callback_x86_64.c); without one every callback is a libffi closure. */
#ifndef HOTLUA_CALLBACK_ENTRY_H
#define HOTLUA_CALLBACK_ENTRY_H

#ifdef __x86_64__
#define CALLBACK_INTEGER_REGISTERS 6
#define CALLBACK_FLOAT_REGISTERS 8
#else
#define CALLBACK_INTEGER_REGISTERS 0
#define CALLBACK_FLOAT_REGISTERS 0
#endif

/* For a function made for its pattern of arguments (callback_thunks.c): jumps to the record's `thunk` with the
 * record behind as many integer arguments. NULL: not on this machine. */
enum { CALLBACK_THUNK_INTEGERS = 3 };
extern void (*const callback_entry_thunk[CALLBACK_THUNK_INTEGERS + 1])(void);

/* Saves the integer registers, then the floating ones, 8 bytes each, and calls callback_invoke with
 * the record, them and room for the result. A jump stub (arch.h) leads here; the address that it
 * loaded its target from is the record's. */
void callback_entry_integers(void);      /* no floating argument */
void callback_entry_all(void);

#endif
