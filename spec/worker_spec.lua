-- luacheck: ignore 431/hot (the functions of workers have their own)
-- Threads: workers with a Lua state of their own, luv's threads, and reloads while they call.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

-- Each thread counts in a place of its own and all in a common one; `gate` keeps a call inside.
local source = [[
#include <time.h>
long counts[8], total;
volatile int is_inside, is_open;
int version(void) { return %d; }
long count(int who) { __atomic_add_fetch(&total, 1, __ATOMIC_RELAXED); return ++counts[who]; }
volatile int *gate_place(void) { return &is_open; }
void *place_of_time(void) { return (void *)time; }
int gate(void)
{
    is_inside = 1;
    while (!is_open) nanosleep(&(struct timespec){.tv_nsec = 100000}, 0);
    is_inside = 0;
    return version();
}
]]

local function version(n) return source:format(n) end

-- As version, but each image has its own gate, since nothing is carried.
local function put(plugin, c_source)
  local path = plugin:info().path
  assert(uv.fs_copyfile(t.build(c_source), path .. ".next"))
  assert(os.rename(path .. ".next", path))
end

-- Sends what it gets back; the first message tells what it was called with.
local function echo(...)
  local hot = require "hotlua"
  local function describe(...)
    local list = table.pack(...)
    for i = 1, list.n do list[i] = math.type(list[i]) or type(list[i]) end
    return table.concat(list, " ", 1, list.n)
  end
  hot.parent:send(describe(...), ...)
  hot.parent:on("message", function(...) hot.parent:send(describe(...), ...) end)
end

local function collect(worker)
  local got = {}
  worker:on("message", function(...) got[#got + 1] = table.pack(...) end)
  return got
end

describe("a worker", function()
  it("gets arguments and messages as copies, integers staying integers", function()
    local values = table.pack(1, 2.0, nil, true, false, "a\0b", math.mininteger, 2 ^ 53, -0.0, "", nil)
    local kinds = "integer float nil boolean boolean string integer float float string nil"
    local worker = hot.worker(echo, table.unpack(values, 1, values.n))
    local got = collect(worker)
    assert.is_true(worker:send(table.unpack(values, 1, values.n)))
    assert.is_true(worker:send())
    worker:join()
    assert.are.equal(3, #got)
    for i = 1, 2 do
      assert.are.equal(values.n + 1, got[i].n)
      assert.are.equal(kinds, got[i][1])
      for k = 1, values.n do assert.are.equal(values[k], got[i][k + 1]) end
    end
    assert.are.equal(1, got[3].n)
  end)

  it("gets tables of any shape, those that occur twice once", function()
    local shared = { 1, 2.5, { deep = "yes" } }
    local ring = { name = "ring", [3] = shared, [true] = shared, [1.5] = math.maxinteger }
    ring.self = ring
    local worker = hot.worker(echo)
    local got = collect(worker)
    worker:send(ring, shared)
    worker:join()
    local copy, second = got[2][2], got[2][3]
    assert.are_not.equal(ring, copy)
    assert.are.equal(copy, copy.self)
    assert.are.equal(copy[3], copy[true])
    assert.are.equal(copy[3], second)
    assert.are.same({ 1, 2.5, { deep = "yes" } }, copy[3])
    assert.are.equal(math.maxinteger, copy[1.5])
  end)

  it("gets tables as deep as a long list is", function()
    local list
    for i = 1, 1500 do list = { i, list } end
    local worker = hot.worker(function(rest)
      local count = 0
      while rest do count, rest = count + 1, rest[2] end
      return count
    end, list)
    assert.are.equal(1500, (worker:join()))
    for i = 1, 1500 do list = { i, list } end
    assert.error_matches(function() hot.worker(echo, list) end, "value #1 has tables nested more than 2000 deep")
  end)

  it("gets pointers as addresses", function()
    local plugin = t.load(version(1), { watch = false })
    local address = hot.address(plugin.api.place_of_time())
    local worker = hot.worker(function(pointer)
      local hot = require "hotlua"
      return hot.address(pointer), pointer
    end, plugin.api.place_of_time())
    local seen, pointer = worker:join()
    assert.are.equal(address, seen)
    assert.are.equal(address, hot.address(pointer))
  end)

  for what, value in pairs { ["function"] = print, ["thread"] = coroutine.create(print), ["FILE*"] = io.stdout } do
    it(("refuses a %s, also deep in a table"):format(what), function()
      local pattern = ("type '%s' %%(in value #%%d%%) cannot be sent"):format(what:gsub("%*", "%%*"))
      assert.error_matches(function() hot.worker(echo, 1, value) end, pattern)
      local worker = hot.worker(echo)
      assert.error_matches(function() worker:send({ { [1] = value } }) end, pattern)
      worker:join()
    end)
  end

  it("runs a script, with its arguments in `arg`", function()
    local path = t.write(t.tmpdir() .. "/job.lua", [[
      local first, second = ...
      assert(arg[0]:match("job%.lua$") and arg[1] == first and arg[2] == second)
      return first + second, "done"
    ]])
    local sum, word = hot.worker(path, 3, 4):join()
    assert.are.equal(7, sum)
    assert.are.equal("integer", math.type(sum))
    assert.are.equal("done", word)
  end)

  it("serves its loop until all is handled, then ends", function()
    local worker = hot.worker(function()
      local hot = require "hotlua"
      local sum, ticks = 0, 0
      local timer
      timer = hot.every(1, function()
        ticks = ticks + 1
        if ticks == 3 then timer:stop() end
      end)
      hot.parent:on("message", function(n)
        hot.sleep(1)
        sum = sum + n
        hot.parent:send(sum)
      end)
      hot.run()
      return sum, ticks
    end)
    for i = 1, 100 do worker:send(i) end
    local got = collect(worker)
    local sum, ticks = worker:join()
    assert.are.equal(5050, sum)
    assert.is_true(ticks >= 1)
    assert.are.equal(100, #got)
    assert.is_false(worker:send(1))
    assert.are.equal(5050, (worker:join()))
  end)

  it("has no parent where there is none, and refuses events that do not exist", function()
    assert.is_nil(hot.parent)
    local worker = hot.worker(function() end)
    assert.error_matches(function() worker:on("massage", print) end, "no event 'massage'; there are error, message")
    assert.error_matches(function() worker:on("message", 1) end, "function expected")
    worker:join()
    assert.matches("worker %d+ %(ended%)", tostring(worker))
  end)
end)

describe("an error in a worker", function()
  it("is what join gives, with its traceback", function()
    local values, message = hot.worker(function()
      local function inner() error("no such luck") end
      inner()
    end):join()
    assert.is_nil(values)
    assert.matches("no such luck", message)
    assert.matches("in upvalue 'inner'", (message:gsub("local 'inner'", "upvalue 'inner'")))
  end)

  it("is an 'error' event", function()
    local worker = hot.worker(function() error("alone") end)
    local seen
    worker:on("error", function(message) seen = message end)
    t.await(function() return seen end)
    assert.matches("alone", seen)
  end)

  it("that is a table comes as a copy, one that is no message as text", function()
    local _, problem = hot.worker(function() error { code = 7, list = { 1, 2.0 } } end):join()
    assert.are.same({ code = 7, list = { 1, 2.0 } }, problem)
    _, problem = hot.worker(function() error { print } end):join()
    assert.matches("^table: ", problem)
    _, problem = hot.worker(function()
      error(setmetatable({}, { __tostring = function() return "as text" end }))
    end):join()
    assert.are.equal("as text", problem)
  end)

  it("is printed when nobody asks", function()
    local path = t.write(t.tmpdir() .. "/main.lua", [[
      local hot = require "hotlua"
      hot.worker(function() error("nobody hears") end)
    ]])
    local pipe = assert(io.popen(("'%s' %s 2>&1"):format(uv.exepath(), path)))
    local output = pipe:read("a")
    pipe:close()
    assert.matches("error in worker 1: .*nobody hears", output)
  end)

  it("of a script that does not compile names its line", function()
    local path = t.write(t.tmpdir() .. "/bad.lua", "local x = = 1\n")
    local _, message = hot.worker(path):join()
    assert.matches("bad%.lua:1:", message)
    _, message = hot.worker(t.tmpdir() .. "/none.lua"):join()
    assert.matches("none%.lua", message)
  end)

  it("is found before the start where that can be", function()
    local outside = {}
    assert.error_matches(function() hot.worker(function() return outside end) end, "local variable 'outside'")
    assert.error_matches(function() hot.worker(print) end, "C function")
    assert.error_matches(function() hot.worker(7) end, "path or function expected, got number")
  end)

  it("of a plugin's crash ends that worker, not the program", function()
    local plugin = t.load(t.crash("SIGSEGV"), { watch = false, guard = { crash = "error" } })
    local worker = hot.worker(function(name) require "hotlua".get(name).api.crash() end, plugin.name)
    local _, message = worker:join()
    assert.matches("SIGSEGV", message)
  end)
end)

describe("hot.get in another Lua state", function()
  local function count_there(name)
    local hot = require "hotlua"
    local plugin = assert(hot.get(name))
    assert(plugin == hot.get(name) and plugin == hot.plugins()[1])
    local total = plugin.api.total
    plugin.api.counts[2] = 7
    return plugin.api.count(1), total, plugin:info().generation, #plugin:exports(), tostring(plugin)
  end

  it("gives the same plugin with the same state", function()
    local plugin = t.load(version(1), { watch = false })
    plugin.api.count(1)
    local count, total, generation, exports, text = hot.worker(count_there, plugin.name):join()
    assert.are.equal(2, count)
    assert.are.equal(1, total)
    assert.are.equal(1, generation)
    assert.are.equal(#plugin:exports(), exports)
    assert.matches("of another thread", text)
    assert.are.equal(2, plugin.api.total)
    assert.are.equal(7, plugin.api.counts[2])
  end)

  it("works in luv's threads and work", function()
    local plugin = t.load(version(1), { watch = false })
    local thread = uv.new_thread(function(name)
      local hot = require "hotlua"
      for _ = 1, 10 do hot.get(name).api.count(0) end
    end, plugin.name)
    thread:join()
    assert.are.equal(10, plugin.api.total)
    local done
    local work = uv.new_work(function(name)
      return tostring(require "hotlua".get(name).api.count(0))
    end, function(count) done = count end)
    work:queue(plugin.name)
    t.await(function() return done end)
    assert.are.equal("11", done)
  end)

  it("leaves what decides about the plugin to the state that loaded it", function()
    local plugin = t.load(version(1), { watch = false })
    local messages = hot.worker(function(name)
      local there, list = require "hotlua".get(name), {}
      for _, method in ipairs { "reload", "rollback", "close", "on", "dump", "restore" } do
        list[#list + 1] = select(2, pcall(there[method], there))
      end
      return list
    end, plugin.name):join()
    assert.are.equal(6, #messages)
    for _, message in ipairs(messages) do assert.matches("was loaded by another Lua state", message) end
    assert.are.equal("nil", hot.worker(function() return tostring(require "hotlua".get "no such") end):join())
  end)

  it("sees a plugin that is closed as closed", function()
    local plugin = t.load(version(1), { watch = false })
    local worker = hot.worker(function(name)
      local hot = require "hotlua"
      local count = hot.get(name).api.count
      hot.parent:on("message", function() hot.parent:send(select(2, pcall(count, 1)), hot.get(name) == nil) end)
      hot.parent:send("ready")
    end, plugin.name)
    local got = collect(worker)
    t.await(function() return got[1] end)
    plugin:close()
    worker:send("now")
    worker:join()
    assert.matches("is closed", got[2][1])
    assert.is_true(got[2][2])
  end)
end)

-- A worker that calls what it is told and answers.
local function obey(name)
  local hot = require "hotlua"
  local api = hot.get(name).api
  local version_of, count = api.version, api.count
  hot.parent:on("message", function(what)
    if what == "gate" then return hot.parent:send("gate", api.gate()) end
    hot.parent:send(what, version_of(), count(1), hot.get(name):info().generation)
  end)
  hot.parent:send("ready")
end

local function new_obedient(plugin)
  local worker = hot.worker(obey, plugin.name)
  local got = collect(worker)
  t.await(function() return got[1] end)
  return worker, got
end

describe("a reload", function()
  it("is seen by every thread's next call, its state carried", function()
    local plugin = t.load(version(1), { watch = false })
    local first, from_first = new_obedient(plugin)
    local second, from_second = new_obedient(plugin)
    for generation = 1, 4 do
      if generation > 1 then assert(t.swap(plugin, version(generation))) end
      for _, pair in ipairs { { first, from_first }, { second, from_second } } do
        pair[1]:send("call")
        t.await(function() return pair[2][generation + 1] end)
        assert.are.equal(generation, pair[2][generation + 1][2])
        assert.are.equal(generation, pair[2][generation + 1][4])
      end
    end
    assert.are.equal(8, from_second[5][3])
    first:join()
    second:join()
  end)

  it("reaches functions that are new", function()
    local plugin = t.load(version(1), { watch = false })
    local worker = hot.worker(function(name)
      local hot = require "hotlua"
      local api = hot.get(name).api
      local before = api.extra
      hot.parent:on("message", function() hot.parent:send(before == nil, api.extra(20)) end)
      hot.parent:send("ready")
    end, plugin.name)
    local got = collect(worker)
    t.await(function() return got[1] end)
    assert(t.swap(plugin, version(2) .. "int extra(int n) { return n + 1; }"))
    worker:send("now")
    worker:join()
    assert.is_true(got[2][1])
    assert.are.equal(21, got[2][2])
  end)

  it("is put off while a thread stays inside, and says who", function()
    local plugin = t.load(version(1), { watch = false })
    local worker, got = new_obedient(plugin)
    worker:send("gate")
    t.await(function() return plugin.api.is_inside == 1 end)
    local report, refusal = t.swap(plugin, version(2))
    assert.is_nil(report)
    assert.are.equal("carry", refusal.stage)
    assert.matches("put off: thread 'worker %d+' is inside 'gate'", refusal.error)
    assert.are.equal(1, plugin.api.version())
    plugin.api.is_open = 1
    t.await(function() return got[2] end)
    assert.are.equal(1, got[2][2])
    assert(plugin:reload())
    assert.are.equal(2, plugin.api.version())
    worker:join()
  end)

  it("that was put off is tried again by itself", function()
    local plugin = t.load(version(1))
    local refusal
    plugin:on("failed", function(report) refusal = refusal or report.error end)
    local worker = new_obedient(plugin)
    worker:send("gate")
    t.await(function() return plugin.api.is_inside == 1 end)
    put(plugin, version(2))
    t.await(function() return refusal end)
    assert.matches("put off", refusal)
    plugin.api.is_open = 1
    t.await(function() return plugin:info().generation == 2 end)
    worker:join()
  end)

  it("by hand that was put off leaves the change to the watcher", function()
    local plugin = t.load(version(1))
    local worker = new_obedient(plugin)
    worker:send("gate")
    t.await(function() return plugin.api.is_inside == 1 end)
    put(plugin, version(2))
    local report, refusal = plugin:reload()
    assert.is_nil(report)
    assert.matches("put off", refusal.error)
    plugin.api.is_open = 1
    t.await(function() return plugin:info().generation == 2 end)
    worker:join()
  end)

  it("stops threads at the boundary of their calls for as long as it carries", function()
    local plugin = t.load(version(1), { watch = false, migrate = function(new, old)
      local before = old.api.total
      local limit = uv.hrtime() + 20000000
      while uv.hrtime() < limit do assert(old.api.total == before, "a call ran during the migration") end
      new.api.total = before
    end })
    local workers = {}
    for i = 1, 2 do
      workers[i] = hot.worker(function(name, who)
        local hot = require "hotlua"
        local count, is_over = hot.get(name).api.count, false
        hot.parent:on("message", function() is_over = true end)
        hot.parent:send("ready")
        local last = 0
        while not is_over do
          for _ = 1, 100 do
            last = last + 1
            assert(count(who) == last)
          end
          hot.poll()
          hot.sleep(0)
        end
        return last
      end, plugin.name, i)
      local got = collect(workers[i])
      t.await(function() return got[1] end)
    end
    for n = 2, 6 do assert(t.swap(plugin, version(n))) end
    local sum = 0
    for i = 1, 2 do
      workers[i]:send("over")
      local last = assert(workers[i]:join())
      assert.are.equal(last, plugin.api.counts[i])
      sum = sum + last
    end
    assert.are.equal(sum, plugin.api.total)
  end)

  it("does not stop anybody under no_stop, and unloads the old image when the last has left it", function()
    local plugin = t.load(version(1), { carry = "none", keep = 0, policy = hot.policy.no_stop })
    local worker, got = new_obedient(plugin)
    local gate = plugin.api.gate_place()
    worker:send("gate")
    t.await(function() return plugin.api.is_inside == 1 end)
    put(plugin, version(2))
    t.await(function() return plugin:info().generation == 2 end)
    assert.are.equal(2, plugin.api.version())
    assert.are.equal(0, plugin.api.total)
    hot.sleep(50)
    local images = plugin:info().images
    assert.are.equal("retiring", images[1].state)
    assert.are.equal(1, images[1].generation)
    gate[0] = 1
    t.await(function() return got[2] end)
    assert.are.equal(1, got[2][2])
    assert.unloaded(plugin, 1)
    worker:join()
  end)

  it("stops threads under no_stop where something is carried", function()
    local plugin = t.load(version(1), { policy = hot.policy.no_stop })
    local refusal
    plugin:on("failed", function(report) refusal = refusal or report.error end)
    local worker = new_obedient(plugin)
    worker:send("gate")
    t.await(function() return plugin.api.is_inside == 1 end)
    put(plugin, version(2))
    t.await(function() return refusal end)
    assert.matches("put off: thread 'worker %d+' is inside 'gate'", refusal)
    plugin.api.is_open = 1
    t.await(function() return plugin:info().generation == 2 end)
    worker:join()
  end)
end)

-- Two numbers that every call keeps together, one of a kind for each thread: a lost or doubled update shows.
local stormy = [[
long counts[8], doubles[8], total;
static long calls[8];
static const volatile int version_number = 0x7ac3b5d1;
int version(void) { return version_number; }
long count(int who)
{
    __atomic_add_fetch(&total, 1, __ATOMIC_RELAXED);
    calls[who]++;
    doubles[who] += 2;
    if (doubles[who] != 2 * ++counts[who] || calls[who] != counts[who]) return -1;
    return counts[who] * 1000000 + version_number;
}
]]

-- One build with the version written into its bytes: to compile hundreds would take minutes.
local function new_versions()
  local file <close> = assert(io.open(t.build(stormy, "-Wl,--build-id=none"), "rb"))
  local bytes = file:read("a")
  local mark = string.pack("<i4", 0x7ac3b5d1)
  local first, last = bytes:find(mark, 1, true)
  assert(not bytes:find(mark, last, true))
  return function(n) return bytes:sub(1, first - 1) .. string.pack("<i4", n) .. bytes:sub(last + 1) end
end

describe("reloads while workers call", function()
  local reloads = tonumber(os.getenv "HOTLUA_STORM") or 300

  -- Calls without a pause; each result tells the count, which must be the next, and the version, which never
  -- goes back. Returns calls, versions seen.
  local function storm(name, who)
    local hot = require "hotlua"
    local count, is_over, is_last = hot.get(name).api.count, false, false
    hot.parent:on("message", function() is_over = true end)
    local calls, last_version, versions = 0, 0, 0
    repeat
      is_last = is_over -- some calls come after the last reload
      for _ = 1, 500 do
        calls = calls + 1
        local result = count(who)
        local of_image = result % 1000000
        if result // 1000000 ~= calls then error(("call %d gave %d"):format(calls, result)) end
        if of_image ~= last_version then versions = versions + 1 end
        if of_image < last_version then error(("version %d came after %d"):format(of_image, last_version)) end
        last_version = of_image
      end
      hot.poll()
    until is_last
    return calls, versions, last_version
  end

  local function start(plugin)
    local workers = {}
    for i = 1, 2 do
      workers[i] = hot.worker(storm, plugin.name, i)
      t.await(function() return plugin.api.counts[i] > 0 end)
    end
    return workers
  end

  -- Every call counted once, and the state of the last image says so too.
  local function finish(plugin, workers, last)
    local sum = 0
    for i = 1, 2 do
      workers[i]:send("over")
      local calls, versions, last_version = assert(workers[i]:join())
      assert.are.equal(calls, plugin.api.counts[i])
      assert.is_true(versions > 1 and last_version == last)
      sum = sum + calls
    end
    assert.are.equal(sum, plugin.api.total)
  end

  it("lose no update and give no wrong result", function()
    local of_version = new_versions()
    local path = t.write(t.tmpdir() .. "/stormy.so", of_version(1))
    local plugin = t.load(path, { watch = false })
    local workers = start(plugin)
    for n = 2, reloads + 1 do
      t.write(path .. ".next", of_version(n))
      assert(os.rename(path .. ".next", path))
      assert(plugin:reload())
      assert.are.equal(n, plugin.api.version())
    end
    finish(plugin, workers, reloads + 1)
    t.await(function() return #plugin:info().images == 2 end)
  end)
end)
