-- The program as a drop-in for lua5.4: each command line is run by both where lua5.4 does the same.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local program = assert(uv.exepath())

local function quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Runs a shell command, in which $LUA is the interpreter. Returns its output (both streams) and exit status.
local function run(command, interpreter)
  local pipe = io.popen(("LUA=%s; ( %s ) 2>&1"):format(quote(interpreter or program), command))
  local output = pipe:read("a")
  local _, kind, code = pipe:close()
  return output, kind == "signal" and 128 + code or code
end

local has_lua = os.execute("command -v lua5.4 >/dev/null 2>&1")

local function same(command, pattern)
  local output, status = run(command)
  if pattern then assert.matches(pattern, output) end
  if not has_lua then return output, status end
  local expected, expected_status = run(command, "lua5.4")
  local function neutral(text)
    return (text:gsub(program:gsub("%p", "%%%0"), "lua"):gsub("lua5%.4", "lua"):gsub("0x%x+", "0x"):gsub("hotlua", "lua"))
  end
  assert.are.equal(neutral(expected), neutral(output))
  assert.are.equal(expected_status, status)
  return output, status
end

describe("the command line", function()
  local directory, script
  before_each(function()
    directory = t.tmpdir()
    script = directory .. "/a script.lua"
    t.write(script, "print(#arg, arg[0] ~= nil, arg[1], arg[-1] ~= nil, ...)")
  end)

  it("runs a script with its arguments, negative indices included", function()
    same(("$LUA %s one 'two three'"):format(quote(script)), "2%s+true%s+one%s+true%s+one%s+two three")
    same(("$LUA -e 'x=1' -- %s one"):format(quote(script)), "1%s+true%s+one%s+true%s+one")
  end)

  it("takes -e, -l, -E, -W, -v and their mistakes as lua5.4 does", function()
    same("$LUA -e 'print(1)' -e 'print(2)'", "1\n2")
    same("$LUA -l string -e 'print(string.rep(\"x\", 3))'", "xxx")
    same("$LUA -ls=string -e 'print(s.rep(\"x\", 3))'", "xxx")
    same("$LUA -W -e 'warn(\"careful\")'", "careful")
    same("$LUA -e 'warn(\"careful\")'")
    assert.matches("unrecognized option '%-x'", (run("$LUA -x")))
    assert.matches("'%-e' needs argument", (run("$LUA -e")))
    local _, status = run("$LUA -x")
    assert.are.equal(1, status)
    assert.matches("Lua 5%.4", (run("$LUA -v")))
    assert.matches("^hotlua %d+%.%d+", (run("$LUA --version")))
  end)

  it("reads a script from standard input", function()
    same("echo 'print(1 + 1, ...)' | $LUA - a", "2%s+a")
    same("echo 'print(1 + 1)' | $LUA", "2")
  end)

  it("runs LUA_INIT, but not with -E", function()
    same("LUA_INIT='print(7)' $LUA -e 'print(8)'", "7\n8")
    same("LUA_INIT='print(7)' $LUA -E -e 'print(8)'", "^8")
    t.write(directory .. "/init.lua", "print(9)")
    same(("LUA_INIT='@%s/init.lua' $LUA -e 'print(8)'"):format(directory), "9\n8")
  end)

  it("takes modules from LUA_PATH, and a #! line", function()
    t.write(directory .. "/thing.lua", "return { value = 42 }")
    same(("LUA_PATH='%s/?.lua;;' $LUA -e 'print(require(\"thing\").value)'"):format(directory), "42")
    t.write(script, "#!/usr/bin/env hotlua\nprint(11)")
    same("$LUA " .. quote(script), "11")
  end)

  it("ends with a traceback and status 1 on an uncaught error", function()
    t.write(script, "local function f() error('boom') end\nf()")
    local output, status = same("$LUA " .. quote(script), "boom")
    assert.matches("stack traceback:", output)
    assert.are.equal(1, status)
    same("$LUA -e 'error({})'", "error object is a table value")
    same("$LUA -e 'error(setmetatable({}, { __tostring = function() return \"told\" end }))'", "told")
    same("$LUA -e 'x = = 1'", "unexpected symbol")
    same("$LUA /no/such/file.lua", "cannot open")
  end)

  it("exits with the status of os.exit", function()
    local _, status = same("$LUA -e 'os.exit(7)'")
    assert.are.equal(7, status)
    _, status = same("$LUA -e 'os.exit(false, true)'")
    assert.are.equal(1, status)
  end)

  it("loads Debian's C modules", function()
    local output = run("$LUA -e 'print(type(require(\"lfs\").currentdir()), type(require(\"luv\").now()))'")
    assert.matches("string%s+number", output)
  end)

  it("has a prompt, at a terminal and without one", function()
    local output = run("printf '1 + 1\\nfor i = 1, 2 do\\nprint(\"i\", i)\\nend\\nerror(\"oops\")\\nx.y\\n' | $LUA -i")
    assert.matches("> 2\n", output)
    assert.matches("i\t1\ni\t2\n", output)
    assert.matches("stdin:1: oops", output)
    assert.is_nil(output:find(program, 1, true))
    assert.matches("attempt to index a nil value", output)
    local terminal = run(("printf 'print(\"six\", 2 * 3)\\n' | script -qec %s /dev/null"):format(quote(quote(program))))
    assert.matches("six\t6", (terminal:gsub(" +6", "\t6")))
  end)

  it("gives no prompt when the script fails", function()
    t.write(script, "error 'on purpose'")
    local output, status = run("echo 'print(\"prompt\")' | $LUA -i " .. quote(script))
    assert.matches("on purpose", output)
    assert.is_nil(output:find("prompt\n", 1, true))
    assert.are.equal(1, status)
  end)
end)

describe("the event loop", function()
  it("runs after the script until nothing is left to wait for", function()
    local output, status = run([[$LUA -e '
      local hot, uv = require "hotlua", require "luv"
      hot.after(20, function() print("after") end)
      local timer = uv.new_timer()
      timer:start(10, 0, function() print("luv") timer:close() end)
      print("main")']])
    assert.are.equal("main\nluv\nafter\n", output)
    assert.are.equal(0, status)
  end)

  it("goes on after an error in a callback, which is shown", function()
    local output = run([[$LUA -e '
      local hot = require "hotlua"
      hot.after(1, function() error("in the callback") end)
      hot.after(20, function() print("still here") end)']])
    assert.matches("in the callback", output)
    assert.matches("stack traceback", output)
    assert.matches("still here", output)
  end)

  it("is not kept alive by watching a plugin", function()
    local path = t.build("int f(void) { return 1; }")
    local output, status = run(("$LUA -e 'local hot = require \"hotlua\" print(hot.load(%q).api.f())'"):format(path))
    assert.are.equal("1\n", output)
    assert.are.equal(0, status)
  end)
end)

describe("SIGINT and SIGTERM", function()
  for name, status in pairs { SIGINT = 130, SIGTERM = 143 } do
    it("unload every plugin in order and end with " .. status .. ": " .. name, function()
      local path = t.build("int f(void) { return 1; }")
      local code = ([[
        local hot, uv = require "hotlua", require "luv"
        local a = hot.load(%q, { name = "a", on = { before_unload = function() print("unload a") end } })
        local b = hot.load(%q, { name = "b", on = { before_unload = function() print("unload b") end } })
        hot.after(10, function() uv.kill(uv.os_getpid(), %q) end)
        hot.run()
        print("not reached by the signal")]]):format(path, path, name:lower())
      local output, ended = run("$LUA -e " .. quote(code))
      assert.matches("unload a\nunload b\n", output)
      assert.are.equal(status, ended)
    end)

    it("also end a script that never returns to the loop: " .. name, function()
      local code = ([[
        local uv = require "luv"
        local pid = uv.os_getpid()
        os.execute("{ sleep 0.1; kill -%s " .. math.tointeger(pid) .. "; } <&- >&- 2>&- " .. string.char(38))
        while true do end]]):format(name:sub(4))
      local _, ended = run("$LUA -e " .. quote(code))
      assert.are.equal(status, ended)
    end)
  end

  -- `spin` sends the signal and never returns by itself.
  for where, code in pairs {
    ["a task"] = "hot.spawn(spin)",
    ["a timer"] = "hot.after(1, spin)",
    ["a coroutine in a task"] = "hot.spawn(function() coroutine.wrap(function() pcall(spin) spin() end)() end)",
    ["code that catches errors"] = "while true do pcall(spin) end",
    ["coroutines that are caught"] = "while true do coroutine.resume(coroutine.create(spin)) end",
    ["a handler of luv"] = "local timer = uv.new_timer() timer:start(1, 0, spin) hot.run()",
  } do
    it("end " .. where, function()
      local path = t.build("int f(void) { return 1; }")
      local output, ended = run("timeout -s KILL 10 $LUA -e " .. quote(([[
        local hot, uv = require "hotlua", require "luv"
        hot.load(%q, { on = { before_unload = function() print "unload" end } })
        local is_sent
        local function spin()
          local was_sent = is_sent
          is_sent = true
          if not was_sent then uv.kill(uv.os_getpid(), "sigterm") end
          while true do end
        end
        %s]]):format(path, code)))
      assert.are.equal("unload\n", output)
      assert.are.equal(143, ended)
    end)
  end

  it("let <close> variables end in order", function()
    local output, ended = run("$LUA -e " .. quote [[
      local uv = require "luv"
      local guard <close> = setmetatable({}, { __close = function()
        local sum = 0
        for i = 1, 10000 do sum = sum + i end
        print(sum)
      end })
      uv.kill(uv.os_getpid(), "sigint")
      while true do end]])
    assert.are.equal("50005000\n", output)
    assert.are.equal(130, ended)
  end)

  it("end workers that loop, also one that has just been started", function()
    for _, wait in ipairs { "", "uv.sleep(20)" } do
      local began = uv.hrtime()
      local output, ended = run("$LUA -e " .. quote(([[
        local hot, uv = require "hotlua", require "luv"
        hot.worker(function() require "hotlua".spawn(function() while true do end end) end)
        %s
        uv.kill(uv.os_getpid(), "sigterm")
        hot.run()]]):format(wait)))
      assert.are.equal("", output)
      assert.are.equal(143, ended)
      assert.is_true(uv.hrtime() - began < 1.8e9)
    end
  end)
end)

describe("hot.run", function()
  it("runs until hot.stop", function()
    local count = 0
    local timer = hot.every(1, function()
      count = count + 1
      if count == 3 then hot.stop() end
    end)
    hot.run()
    timer:stop()
    assert.are.equal(3, count)
  end)

  it("is the end of the program's loop when it was stopped, whatever still waits", function()
    local code = "local hot = require 'hotlua' hot.every(1, function() end) hot.after(5, hot.stop) hot.run() print 'end'"
    local output, status = run("$LUA -e " .. quote(code))
    assert.are.equal("end\n0", output .. status)
  end)
end)

describe("hot.sleep", function()
  it("wants milliseconds", function()
    for _, bad in ipairs { "x", {}, 0 / 0 } do
      assert.error_matches(function() hot.sleep(bad) end, "^bad argument #1 to 'sleep' %(milliseconds")
    end
    hot.sleep(-1)
  end)
end)

describe("the end of the program", function()
  it("waits for tasks that sleep, also those of timers", function()
    local output, status = run([[$LUA -e 'local hot = require "hotlua"
      hot.spawn(function() hot.sleep(50) print "task" end)
      hot.every(5, function(timer) timer:stop() hot.sleep(80) print "every" end)
      hot.after(5, function() hot.sleep(110) print "after" end)
      print "main"']])
    assert.are.equal("main\ntask\nevery\nafter\n", output)
    assert.are.equal(0, status)
  end)
end)
