-- `make install`: the installed program stands alone.
local t = require "hotlua.test"
local uv = require "luv"

local build = uv.exepath():match("^(.*)/")

local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1", "r"))
  local output = pipe:read("a")
  local ok = pipe:close()
  return ok, output
end

local function make(target, prefix)
  local ok, output = run(("MAKEFLAGS= make %s BUILD='%s' PREFIX='%s'"):format(target, build, prefix))
  assert.is_true(ok, output)
end

local function files(directory)
  local _, output = run(("cd '%s' && find . -type f | sort"):format(directory))
  return output
end

describe("make install PREFIX=…", function()
  local prefix

  before_each(function()
    prefix = t.tmpdir() .. "/pre fix"
    make("install", prefix)
  end)

  it("copies program, header, Lua files, man page and completions", function()
    local list = files(prefix)
    for _, name in ipairs {
      "./bin/hotlua\n", "./include/hotlua/plugin.h\n", "./share/man/man1/hotlua.1\n", "/hotlua/init.lua\n",
      "./share/bash%-completion/completions/hotlua\n", "./share/zsh/site%-functions/_hotlua\n",
      "./share/fish/vendor_completions.d/hotlua.fish\n",
    } do
      assert.matches(name, list)
    end
  end)

  it("gives a program that runs from anywhere, with nothing of the source's folder", function()
    local directory = t.tmpdir()
    t.write(directory .. "/p.c", [[
#include <hotlua/plugin.h>
static HOT_STATE int count;
int tick(void) { return ++count; }
]])
    t.write(directory .. "/main.lua", [[
local hot = require "hotlua"
local plugin = hot.load "./p.so"
plugin.api.tick()
assert(os.execute "cc -g -O1 -shared -fPIC -I\"$INCLUDE\" -o p.so p.c")
local report = plugin:reload()
print(report.ok, plugin.api.tick(), package.searchpath("hotlua", package.path) == nil)
]])
    local ok, output = run(([[
cd '%s' && export INCLUDE='%s/include' && cc -g -shared -fPIC -I"$INCLUDE" -o p.so p.c && env -u LUA_PATH '%s/bin/hotlua' main.lua
]]):format(directory, prefix, prefix):gsub("\n", ""))
    assert.is_true(ok, output)
    assert.equal("true\t2\ttrue\n", output)
  end)

  it("is undone by make uninstall", function()
    make("uninstall", prefix)
    assert.equal("", files(prefix))
  end)
end)
