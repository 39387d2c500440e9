-- hotlua --watch main.lua: the script runs again in a fresh state, the plugins stay.
local t = require "hotlua.test"
local uv = require "luv"

local program = assert(uv.exepath())

local counter = "static int count; int next(void) { return ++count; } int version(void) { return %d; }"

local directory
local function put(name, bytes)
  t.write(directory .. "/" .. name .. ".new", bytes)
  assert(os.rename(directory .. "/" .. name .. ".new", directory .. "/" .. name))
end

local function put_plugin(version)
  local file <close> = assert(io.open(t.build(counter:format(version)), "rb"))
  put("counter.so", file:read("a"))
end

-- Runs main.lua under --watch; its output so far, its exit status, and a function that ends it.
local function start(script)
  put("main.lua", script)
  local output, status = "", nil
  local pipe, process, message = uv.new_pipe(false), nil, nil
  process, message = uv.spawn("/bin/sh", {
    args = { "-c", ("exec '%s' --watch main.lua first second 2>&1"):format(program) }, cwd = directory,
    stdio = { nil, pipe },
  }, function(code)
    status = code
    process:close()
  end)
  assert(process, message)
  pipe:read_start(function(_, data)
    if data then output = output .. data else pipe:close() end
  end)
  local function reads(pattern)
    t.await(function() return output:find(pattern) or status end)
    assert.matches(pattern, output)
  end
  local function stop()
    uv.process_kill(process, "sigint")
    t.await(function() return status end)
    assert.are.equal(130, status)
    return output
  end
  return reads, stop
end

local load = 'local hot = require "hotlua"\nlocal counter = hot.load("counter.so")\n'

describe("hotlua --watch", function()
  before_each(function()
    directory = t.tmpdir()
    put_plugin(1)
  end)

  it("runs the script again in a fresh state with the plugins as they were", function()
    local reads, stop = start(load .. [[
      print("one", counter.api.next(), counter.api.next(), x)
      x = 1
      hot.run()
    ]])
    reads "one\t1\t2\tnil\n"
    put("main.lua", load .. 'print("two", counter.api.next(), x, arg[2], counter:info().generation)\nhot.run()')
    reads "two\t3\tnil\tsecond\t1\n"
    put_plugin(2)
    put("main.lua", load .. 'print("three", counter.api.next())\n' ..
      'hot.every(5, function() if counter.api.version() == 2 then print "new" hot.stop() end end)')
    reads "three\t4\n"
    reads "new\n"
    stop()
  end)

  it("keeps what runs when the new script does not compile", function()
    local reads, stop = start(load .. "hot.every(5, function() print(counter.api.next()) end)")
    reads "\n5\n"
    put("main.lua", "local x = = 1")
    reads "main%.lua:1: unexpected symbol near '=' %(what runs goes on%)"
    local _, last = stop():find "goes on%)\n"
    assert.is_true(last > 0)
  end)

  it("waits for the next version after an error and after the end", function()
    local reads, stop = start(load .. 'print(counter.api.next()) error("no luck")')
    reads "no luck"
    put("main.lua", load .. 'print("then", counter.api.next())')
    reads "then\t2\n"
    put("main.lua", load .. 'print("last", counter.api.next())')
    reads "last\t3\n"
    stop()
  end)

  it("stops a script that never returns to its loop", function()
    local reads, stop = start(load .. 'print "busy" io.stdout:flush()\nwhile true do counter.api.next() end')
    reads "busy\n"
    put("main.lua", load .. 'print("after", counter.api.next() > 1)')
    reads "after\ttrue\n"
    assert.is_nil(stop():find("interrupted", 1, true))
  end)

  for what, code in pairs {
    ["a task"] = "hot.spawn(function() while true do counter.api.next() end end)",
    ["a timer"] = "hot.every(1, function() while true do counter.api.next() end end)",
    ["a loop that catches errors"] = "while true do pcall(hot.sleep, 1) end",
  } do
    it("stops " .. what .. " that never ends", function()
      local reads, stop = start(load .. 'print "busy" io.stdout:flush()\ncounter.api.next() ' .. code)
      reads "busy\n"
      put("main.lua", load .. 'print("after", counter.api.next() > 1)')
      reads "after\ttrue\n"
      assert.is_nil(stop():find("interrupted", 1, true))
    end)
  end

  it("unloads what the new script does not load", function()
    local reads, stop = start(load .. "print(counter.api.next())\nhot.run()")
    reads "1\n"
    put("main.lua", 'print("without", #require "hotlua".plugins())')
    reads "without"
    put("main.lua", load .. 'print("fresh", counter.api.next())')
    reads "fresh\t1\n"
    stop()
  end)

  it("needs a script", function()
    local pipe = assert(io.popen(("'%s' --watch 2>&1"):format(program)))
    local output = pipe:read("a")
    local _, _, status = pipe:close()
    assert.are.equal(1, status)
    assert.matches("'%-%-watch' needs the file of a script", output)
  end)
end)
