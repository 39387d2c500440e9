-- Random signatures with random values: what a C function receives from Lua, and Lua from it, is what a C
-- program sees that makes the same calls. HOTLUA_SIGNATURES functions (100), drawn from HOTLUA_SEED (1).
local t = require "hotlua.test"
local scope = require "hotlua.test.scope"

local here = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
package.path = here .. "/signatures/?.lua;" .. package.path
local build = require "build"
local kinds = require "kinds"
local program = require "program"
local signatures = require "random"

local wanted = tonumber(os.getenv "HOTLUA_SIGNATURES") or 100
local seed = tonumber(os.getenv "HOTLUA_SEED") or 1
local batch_size <const>, times <const> = 50, 6

local function compilers(number)
  local compiler = number % 2 == 0 and "clang" or "gcc"
  return {
    "gcc -w -O0 -o caller caller.c -lm",
    ("%s -w -g -O%d -shared -fPIC -o plugin.so plugin.c"):format(compiler, number % 3),
  }
end

local function check_batch(number)
  math.randomseed(seed, number)
  kinds.restart()
  local functions = {}
  for i = 1, batch_size do functions[i] = signatures.signature("f" .. i) end
  local calls = program.draw_calls(functions, times)
  local source = program.plugin_source(functions)
  local directory = scope.new_directory()
  build.run(directory, { ["plugin.c"] = source, ["caller.c"] = program.caller_source(source, calls) }, compilers(number))
  local expected = build.lines(directory, "./caller")
  assert.are.equal(#calls, #expected)
  local plugin = t.load(directory .. "/plugin.so")
  local problems = program.differences(plugin, calls, expected)
  plugin:close()
  if #problems == 0 then return end
  error(("HOTLUA_SEED=%d, batch %d: %d of %d calls differ\n%s"):format(seed, number, #problems, #calls,
    table.concat(problems, "\n", 1, math.min(#problems, 10))), 0)
end

describe("a random signature", function()
  local batches = math.max(1, wanted // batch_size)

  it("passes what C passes", function()
    io.stderr:write(("%d signatures, HOTLUA_SEED=%d\n"):format(batches * batch_size, seed))
    for number = 1, batches do check_batch(number) end
  end)
end)
