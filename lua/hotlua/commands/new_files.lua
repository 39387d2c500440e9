--- The files of a new project: path -> text. @NAME@, @CLASS@ and @HOTLUA@ are filled in.
local files = {}

files["src/@NAME@.c"] = [==[
/* @NAME@.c: the plugin: plain C, no header of hotlua's. What is not static can be called and
 * read from Lua, and every variable keeps its value across reloads. */
#include <stdio.h>

struct stats {
    int greetings;
    char last[32];
};

struct stats stats;
int pause_s = 1;                 /* seconds between two greetings */

const char *greet(const char *who)
{
    static char text[96];
    stats.greetings++;
    snprintf(stats.last, sizeof stats.last, "%s", who);
    snprintf(text, sizeof text, "hello, %s (%d)", who, stats.greetings);
    return text;
}

int pause_ms(void)
{
    return pause_s * 1000;
}
]==]

files["main.lua"] = [==[
-- Runs the plugin and takes in each new build of it. Change src/@NAME@.c and save it.
local hot = require "hotlua"
local migrate = require "migrate"

-- Decides whether a new build is taken: when the file has been quiet for 50 ms, and no function
-- has changed its type. hot.policy.compatible would also refuse what loses state.
local function policy(change)
  change:settle(50)
  local changed = change:diff().changed
  if #changed > 0 then return false, "other types: " .. table.concat(changed, ", ") end
  return true
end

---@type @CLASS@
local plugin = hot.load("build/@NAME@.so", {
  watch = { "src/@NAME@.c" },
  build = "make -s build/@NAME@.so",
  policy = policy,
  migrate = migrate,
  expect = { greet = "const char *greet(const char *)", pause_ms = "int pause_ms(void)" },
})
plugin:on("loaded", function(_, report) print(report) end)
plugin:on("failed", function(report) print(report) end)

local function tick()
  print(plugin.api.greet("world"))
  hot.after(plugin.api.pause_ms(), tick)
end

tick()
hot.run()
]==]

files["migrate.lua"] = [==[
-- Brings over what a reload cannot match by name and type. It runs after the rest has been
-- carried, with both versions readable and writable; an error in it undoes the reload.
---@param new hotlua.image
---@param old hotlua.image
return function(new, old)
  -- The day pause_s becomes pause_ms:
  if old.api.pause_s and new.api.pause_ms_between then
    new.api.pause_ms_between = old.api.pause_s * 1000
  end
end
]==]

files["spec/@NAME@_spec.lua"] = [==[
local hot = require "hotlua"
local t = require "hotlua.test"
local migrate = require "migrate"

-- The plugin's source, with pairs of texts replaced.
local function source(...)
  local file <close> = assert(io.open "src/@NAME@.c")
  local text = file:read "a"
  for i = 1, select("#", ...), 2 do
    local from, to = select(i, ...)
    local count
    text, count = text:gsub(from, to)
    assert(count > 0, "not in the source: " .. from)
  end
  return text
end

describe("@NAME@", function()
  it("greets, and counts", function()
    local plugin = t.load(source())
    assert.equal("hello, world (1)", plugin.api.greet("world"))
    assert.equal(1, plugin.api.stats.greetings)
  end)

  it("keeps its state across a reload", function()
    local plugin = t.load(source())
    local greet = plugin.api.greet
    greet("first")
    assert(t.swap(plugin, source("hello", "good day")))
    assert.reloaded(plugin)
    assert.equal("good day, second (2)", greet("second"))
  end)

  it("keeps what is in a struct that grows", function()
    local plugin = t.load(source())
    plugin.api.greet("first")
    assert(t.swap(plugin, source("int greetings;", "int refused; long greetings;",
      "%%d", "%%ld")))
    assert.equal(1, plugin.api.stats.greetings)
    assert.equal("first", hot.string(plugin.api.stats.last))
  end)

  it("migrates seconds to milliseconds", function()
    local plugin = t.load(source(), { migrate = migrate })
    plugin.api.pause_s = 3
    assert(t.swap(plugin, source("int pause_s = 1;", "int pause_ms_between = 1000;",
      "pause_s %* 1000", "pause_ms_between")))
    assert.equal(3000, plugin.api.pause_ms())
  end)
end)
]==]

files["Makefile"] = [==[
# make, make test, make run; HOTLUA=path if hotlua is not on PATH.
HOTLUA ?= $(or $(shell command -v hotlua),@HOTLUA@)
CFLAGS ?= -O2 -g -Wall -Wextra
.PHONY: all run test clean

all: build/@NAME@.so stubs/@NAME@.lua

# Under another name first: a half-written file is never there to be loaded.
build/%.so: src/%.c
	@mkdir -p build
	$(CC) $(CFLAGS) -fPIC -shared -o $@.new $<
	@mv $@.new $@

stubs/%.lua: build/%.so
	$(HOTLUA) stubs $< > $@.new
	@mv $@.new $@

run: all
	$(HOTLUA) main.lua

test: all
	$(HOTLUA) test

clean:
	rm -rf build
]==]

files[".busted"] = [==[
return {
  default = { ROOT = { "spec" }, lpath = "./?.lua" },
}
]==]

files[".luacheckrc"] = [==[
std = "lua54+busted"
exclude_files = { "stubs", "build" }
]==]

files[".luarc.json"] = [==[
{
  "runtime.version": "Lua 5.4",
  "workspace.library": ["stubs"],
  "workspace.checkThirdParty": false,
  "diagnostics.globals": ["describe", "it", "before_each", "after_each", "setup", "teardown"]
}
]==]

files[".gitignore"] = [==[
/build/
]==]

files["README.md"] = [==[
# @NAME@

A plugin in C that is built and taken in again while it runs.

    make            build the plugin, and write its stubs for the editor
    make test       the specs
    make run        the program: change src/@NAME@.c meanwhile, and save

| file | what |
|---|---|
| `src/@NAME@.c` | the plugin |
| `main.lua` | the program: loads the plugin, decides what is taken in |
| `migrate.lua` | brings over state that a reload cannot match by itself |
| `spec/@NAME@_spec.lua` | tests: calls, a reload, a migration |
| `stubs/` | annotations for the Lua language server, written by `hotlua stubs` |

`hotlua check OLD.so NEW.so` says what a reload would keep, reset and refuse.
]==]

files["stubs/@NAME@.lua"] = [==[
---@meta
-- Written by `hotlua stubs build/@NAME@.so`. To use it:
--     ---@type @CLASS@
--     local @CLASS@ = hot.load("build/@NAME@.so")

---@class @CLASS@.api
---@field ["greet.text"] table<integer, integer> # static char greet.text[96]
---@field pause_s integer # int pause_s
---@field stats @CLASS@.stats # struct stats stats
local api = {}

--- `const char *greet(const char *who)`
---@param who string? # const char *
---@return string? # const char *
function api.greet(who) end

--- `int pause_ms(void)`
---@return integer # int
function api.pause_ms() end

--- `struct stats`, 36 bytes
---@class @CLASS@.stats: hotlua.object
---@field greetings integer # int
---@field last table<integer, integer> # char[32]

---@class @CLASS@.types: hotlua.types
---@field stats fun(init?: table): @CLASS@.stats

---@class @CLASS@.enums: hotlua.enums

---@class @CLASS@: hotlua.plugin
---@field api @CLASS@.api
---@field types @CLASS@.types
---@field enums @CLASS@.enums
]==]

return files
