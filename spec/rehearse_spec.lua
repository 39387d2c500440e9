-- Rehearsals: a reload is tried in a forked copy of the process first.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local function source(version, more)
  return ("static int count = 0; int version(void) { return %d; } int tick(void) { return ++count; } %s"):format(
    version, more or "")
end

local function put(plugin, c_source)
  local file <close> = assert(io.open(t.build(c_source), "rb"))
  t.write(plugin:info().path .. ".next", file:read("a"))
  assert(os.rename(plugin:info().path .. ".next", plugin:info().path))
end

local function refused(plugin, c_source, pattern)
  local generation = plugin:info().generation
  local report, failed = t.swap(plugin, c_source)
  assert.is_nil(report)
  assert.are.equal("rehearse", failed.stage)
  assert.matches(pattern, failed.error)
  assert.is_false(failed.rehearsal.ok)
  assert.are.equal(generation, plugin:info().generation)
  return failed
end

describe("rehearse = true", function()
  it("takes a version that lives, with its state, and says what it cost", function()
    local plugin = t.load(source(1), { rehearse = true })
    plugin.api.tick()
    local report = assert(t.swap(plugin, source(2)))
    assert.are.equal(2, plugin.api.version())
    assert.are.equal(2, plugin.api.tick())
    assert.is_true(report.rehearsal.ok)
    assert.is_true(report.us.rehearse > 0 and report.rehearsal.us > 0)
  end)

  it("refuses a crash in migrate before the program has it", function()
    local plugin = t.load(source(1), {
      rehearse = true,
      migrate = function(new) if new.api.version() == 2 then new.api.go() end end,
    })
    refused(plugin, source(2, "void go(void) { *(volatile int *)8 = 1; }"), "SIGSEGV.*go")
    assert.are.equal(1, plugin.api.tick())
  end)

  it("refuses what ends the process", function()
    local plugin = t.load(source(1), { rehearse = function(api) if api.version() == 2 then api.go() end end })
    refused(plugin, "#include <unistd.h>\n" .. source(2, "void go(void) { _exit(3); }"), "it called _exit%(3%)")
    assert.are.equal(1, plugin.api.version())
  end)
end)

describe("rehearse = function", function()
  it("runs it with the new version's functions, in the copy only", function()
    local called = false
    local plugin = t.load(source(1), { rehearse = function(api)
      called = true
      assert(api.version() == 2 or api.version() == 1)
      api.tick()
    end })
    assert(t.swap(plugin, source(2)))
    assert.is_false(called)
    assert.are.equal(1, plugin.api.tick())
  end)

  it("refuses what it raises, or returns false for", function()
    local plugin = t.load(source(1), { rehearse = function(api)
      if api.version() == 2 then error "two is not liked" end
      return api.version() < 3, "three neither"
    end })
    refused(plugin, source(2), "two is not liked")
    refused(plugin, source(3), "three neither")
  end)

  it("refuses a crash, with function and line, and output that it made", function()
    local plugin = t.load(source(1), { rehearse = function(api)
      print "before the crash"
      if api.version() == 2 then api.go() end
    end })
    local failed = refused(plugin, source(2, "void go(void) { *(volatile int *)8 = 1; }"), "SIGSEGV in 'go'")
    assert.are.equal("before the crash\n", failed.rehearsal.output)
  end)

  it("refuses an endless loop after its limit, while the program goes on", function()
    local plugin = t.load(source(1), { rehearse = {
      limit_ms = 300, run = function(api) if api.version() == 2 then api.go() end end,
    } })
    local ticks = 0
    local timer = hot.every(5, function() ticks = ticks + 1 end)
    refused(plugin, source(2, "void go(void) { for (;;) ; }"), "not done after 300 ms")
    timer:stop()
    assert.is_true(ticks >= 5)
  end)

  it("refuses a descriptor that is left open", function()
    local plugin = t.load(source(1), { rehearse = function(api) if api.version() == 2 then api.go() end end })
    refused(plugin, "#include <fcntl.h>\n" .. source(2, "int go(void) { return open(\"/dev/zero\", O_RDONLY); }"),
      "leaves open: /dev/zero")
  end)
end)

describe("a crash of the live version during a rehearsal", function()
  for _, policy in ipairs { "rollback", "error" } do
    it("does not keep the next version from coming: " .. policy, function()
      local plugin, crash
      plugin = t.load(source(1), { watch = true, guard = { crash = policy }, rehearse = function()
        local began = os.clock()
        while os.clock() < began + 0.1 do end
      end })
      assert(t.swap(plugin, source(2, "int boom(void) { return *(volatile int *)16; }")))
      plugin.api.tick()
      plugin:on("before_load", function()
        hot.after(1, function() crash = { plugin.api.version(), select(2, pcall(plugin.api.boom)) } end)
      end)
      put(plugin, source(4))
      t.await(function() return plugin.api.version() == 4 end)
      assert.are.equal(2, crash[1])
      assert.matches("SIGSEGV", crash[2])
      assert.are.equal(2, plugin.api.tick())
    end)
  end
end)

describe("the copy", function()
  it("writes nothing of the program's twice", function()
    local directory = t.tmpdir()
    t.write(directory .. "/p.c", "int version(void) { return 1; }")
    t.write(directory .. "/main.lua", ([[
local hot = require "hotlua"
local file = io.open("%s/log", "w")
file:write("in the buffer\n")
io.write("unfinished ")
local plugin = hot.load("%s", { watch = false, rehearse = function() print "in the copy" end })
assert(plugin:reload())
local source = "%s"
os.remove(source)
assert(os.rename(source .. ".2", source))
assert(plugin:reload().rehearsal.ok)
print "line"
file:close()
]]):format(directory, directory .. "/p.so", directory .. "/p.so"))
    for i, version in ipairs { 1, 2 } do
      local made <close> = io.open(t.build(source(version)), "rb")
      t.write(directory .. "/p.so" .. (i == 2 and ".2" or ""), made:read("a"))
    end
    local pipe = assert(io.popen(("'%s' %s/main.lua 2>&1"):format(uv.exepath(), directory)))
    assert.are.equal("unfinished line\n", pipe:read("a"))
    assert.is_true(pipe:close())
    assert.are.equal("in the buffer\n", io.open(directory .. "/log"):read("a"))
  end)

  it("leaves sockets and timers to the program", function()
    local server, client = uv.new_tcp(), uv.new_tcp()
    server:bind("127.0.0.1", 0)
    local got = {}
    server:listen(1, function()
      local peer = uv.new_tcp()
      server:accept(peer)
      peer:read_start(function(_, data)
        if not data then return peer:close() end
        got[#got + 1] = data
      end)
    end)
    client:connect("127.0.0.1", server:getsockname().port)
    local plugin = t.load(source(1), { rehearse = function(api) api.tick() end })
    assert(t.swap(plugin, source(2)))
    client:write("still here")
    t.await(function() return got[1] end)
    assert.are.same({ "still here" }, got)
    client:close()
    server:close()
    t.await(function() return server:is_closing() and client:is_closing() end)
  end)

  it("calls on_rehearsal first, to cut off what must not be touched", function()
    local path = t.tmpdir() .. "/effect"
    local is_copy = false
    local plugin = t.load(source(1), {
      on_rehearsal = function() is_copy = true end,
      rehearse = function() if not is_copy then t.write(path, "written") end end,
    })
    assert(t.swap(plugin, source(2)))
    assert.is_nil(uv.fs_stat(path))
    assert.is_false(is_copy)
  end)

  it("has probe helpers of its own", function()
    local helpers = {}
    local other = t.build "__attribute__((constructor)) static void begin(void) {} int three(void) { return 3; }"
    local path = t.tmpdir() .. "/pids"
    local function children()
      local list = {}
      local pipe <close> = io.popen(("ps -o pid= -o comm= --ppid %d"):format(uv.os_getpid()))
      for id in pipe:lines() do
        if id:find "hotlua%-probe" then list[#list + 1] = id:match "%d+" end
      end
      return table.concat(list, " ")
    end
    local plugin = t.load(source(1, "__attribute__((constructor)) static void begin(void) {}"), {
      rehearse = function()
        local loaded = hot.load(other, { watch = false, name = "in_the_copy" })
        assert(loaded.api.three() == 3)
        t.write(path, children()) -- its own
      end,
    })
    helpers[1] = children()
    assert.matches("%d", helpers[1])
    assert(t.swap(plugin, source(2)))
    assert.are.equal(helpers[1], children())
    assert.matches("%d", io.open(path):read("a"))
  end)

  it("does not disturb threads that use the plugin", function()
    local plugin = t.load(source(1), { rehearse = true })
    local worker = hot.worker(function(name)
      local same, calls = require "hotlua".get(name), 0
      while same.api.version() < 4 do calls = calls + 1 end
      return calls
    end, plugin.name)
    for version = 2, 4 do
      t.await(function() return t.swap(plugin, source(version)) end, 10000)
    end
    assert.is_true(worker:join() > 0)
  end)
end)

describe('rehearse = "shadow"', function()
  local function scaled(factor)
    return ("double scale(double x) { return x * %s; } int length(const char *s) { int n = 0; while (s[n]) n++; return n; }"
      ):format(factor)
  end

  it("makes the last calls again in both versions, and takes what gives the same", function()
    local plugin = t.load(scaled("3.0"), { rehearse = "shadow" })
    for i = 1, 10 do plugin.api.scale(i + 0.5) end
    plugin.api.length("four")
    local report = assert(t.swap(plugin, scaled("(1.0 + 2.0)")))
    assert.are.equal(11, report.rehearsal.compared)
    assert.are.same({}, report.rehearsal.mismatches)
    assert.is_true(report.rehearsal.old_us > 0 and report.rehearsal.new_us > 0)
  end)

  it("refuses another result, with the call", function()
    local plugin = t.load(scaled("3.0"), { rehearse = "shadow" })
    plugin.api.scale(2.0)
    refused(plugin, scaled("3.5"), "1 of 1 calls differ: scale%(2.0%) gives 7.0, it gave 6.0")
    assert.are.equal(6.0, plugin.api.scale(2.0))
  end)

  it("compares floats with a tolerance, and times if asked", function()
    local plugin = t.load(scaled("3.0"), { rehearse = { shadow = 5, tolerance = 0.01 } })
    plugin.api.scale(2.0)
    assert(t.swap(plugin, scaled("3.001")))
    local slow = t.load(scaled("3.0"), { rehearse = { shadow = 5, slower = 10 } })
    slow.api.length("text")
    refused(slow, scaled("3.0"):gsub("int n = 0;", "volatile int n = 0; for (n = 0; n < 100000000; ) n++; n = 0;"),
      "more than 10 times")
  end)

  it("is not held up by threads that call meanwhile", function()
    local function adder(version)
      return ("int version(void) { return %d; } int add(int a, int b) { return a + b; }"):format(version)
    end
    local plugin = t.load(adder(1), { rehearse = {
      shadow = 20, limit_ms = 2000, run = function(api) for i = 1, 10 do api.add(i, i) end end,
    } })
    local function call(name)
      local api = require "hotlua".get(name).api
      while api.add(1, 1) == 2 and api.version() > 0 do for i = 1, 1000 do api.add(i, 1) end end
    end
    local workers = { hot.worker(call, plugin.name), hot.worker(call, plugin.name) }
    local reasons = {}
    for version = 2, 15 do
      local _, failed = t.swap(plugin, adder(version))
      reasons[#reasons + 1] = failed and failed.error
    end
    while not t.swap(plugin, adder(0)) do hot.sleep(1) end
    for _, worker in ipairs(workers) do worker:join() end
    assert.not_matches("not done after", table.concat(reasons, "\n"))
  end)

  it("keeps both versions' state in step", function()
    local plugin = t.load(source(1), { rehearse = "shadow" })
    for i = 1, 5 do assert.are.equal(i, plugin.api.tick()) end
    local report = assert(t.swap(plugin, source(1, "int more;")))
    assert.are.equal(5, report.rehearsal.compared)
    assert.are.equal(6, plugin.api.tick())
  end)
end)

describe("a policy", function()
  it("may rehearse a change", function()
    local verdicts = {}
    local plugin = t.load(source(1), { policy = function(change)
      local ok, reason = change:rehearse(function(api)
        if api.version() == 2 then error "not two" end
      end)
      verdicts[#verdicts + 1] = { ok, reason }
      return ok, reason
    end })
    put(plugin, source(2))
    t.await(function() return verdicts[1] end)
    assert.is_false(verdicts[1][1])
    assert.matches("not two", verdicts[1][2])
    t.await(function() return plugin:info().failures == 1 end)
    put(plugin, source(3))
    t.await(function() return plugin:info().generation == 2 end)
    assert.are.equal(3, plugin.api.version())
  end)

  it("may be hot.policy.rehearsed", function()
    local failed
    local plugin = t.load(source(1), {
      policy = hot.policy.rehearsed(function(api) assert(api.version() ~= 2, "two") end),
      on = { failed = function(report) failed = report end },
    })
    put(plugin, source(2))
    t.await(function() return failed end)
    assert.are.equal("settle", failed.stage)
    assert.matches("two", failed.error)
    put(plugin, source(3))
    t.await(function() return plugin:info().generation == 2 end)
  end)
end)

describe("the option", function()
  it("is checked", function()
    local function refuses(settings, pattern)
      assert.error_matches(function() t.load(source(1), { rehearse = settings }) end, pattern)
    end
    refuses({ runs = print }, "'rehearse' has no field 'runs'; there are run, shadow, limit_ms, tolerance, slower")
    refuses({ run = 1 }, "'rehearse': run is a function, not 1")
    for _, shadow in ipairs { -1, 0, 2.5, 1e9, "5" } do
      refuses({ shadow = shadow }, "'rehearse': shadow is a whole number from 1 to 100000, not ")
    end
    refuses({ limit_ms = 0 }, "'rehearse': limit_ms is a number above 0, not 0")
    refuses({ slower = -1 }, "'rehearse': slower is a number above 0, not ")
  end)

  it("takes parts of a millisecond", function()
    local plugin = t.load(source(1), { rehearse = { limit_ms = 5000.5, shadow = 3.0 } })
    plugin.api.tick()
    assert(t.swap(plugin, source(2)))
  end)
end)
