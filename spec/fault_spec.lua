-- Whatever fails in a reload, nothing of it is left: by stages, and with fewer descriptors than are needed.
-- That every single call fails in turn takes another program: make check-fault.
local core = require "hotlua.core"
local hot = require "hotlua"
local reload = require "hotlua.reload"
local t = require "hotlua.test"
local uv = require "luv"

local source = [[
struct point { int x, y; const char *label; };
struct point corner = { 1, 2, "corner" };
static int calls;
__attribute__((constructor)) static void begin(void) { corner.y = 3; }
int step(int by) { calls += by; return calls; }
int version(void) { return %d; }
]]

local function count_entries(path)
  local request, count = assert(uv.fs_scandir(path)), 0
  while uv.fs_scandir_next(request) do count = count + 1 end
  return count
end

local function measure()
  collectgarbage()
  collectgarbage()
  local mappings = 0
  for line in io.lines "/proc/self/maps" do
    if line:find(core.stage_directory(), 1, true) then mappings = mappings + 1 end
  end
  return { mappings = mappings, descriptors = count_entries "/proc/self/fd",
    copies = count_entries(core.stage_directory()) }
end

-- Images are unloaded on another thread.
local function await_no_more(before)
  local more
  local ok = pcall(t.await, function()
    local now = measure()
    more = nil
    for kind, n in pairs(now) do
      if n > before[kind] then more = ("%d %s, were %d"):format(n, kind, before[kind]) end
    end
    return not more
  end, 2000)
  assert.is_true(ok, more)
end

describe("a failure at any stage", function()
  it("of a reload leaves state, mappings, descriptors and files as they were", function()
    local plugin = t.load(source:format(1), { watch = false })
    plugin.api.corner.x = 10
    plugin.api.step(4)
    local second = t.build(source:format(2))
    hot.sleep(1) -- the watcher's thread has its descriptors after this
    local before = {} -- by stage: a refused image is remembered, as far as it came
    local function refuse(stage)
      local _, refusal = t.swap(plugin, second)
      assert.are.equal(stage, refusal.stage)
      assert.matches("failure injected", refusal.error)
      local api = plugin.api
      assert.are.same({ 1, 10, 3, 4, 1 }, {
        api.version(), api.corner.x, api.corner.y, api.step(0), plugin:info().generation,
      })
      if before[stage] then await_no_more(before[stage]) end
    end
    t.each_stage(refuse) -- the probe has its helper after this
    t.each_stage(function(stage)
      refuse(stage)
      before[stage] = measure()
    end)
    t.each_stage(refuse)
    assert(t.swap(plugin, second))
    assert.are.same({ 2, 10, 4 }, { plugin.api.version(), plugin.api.corner.x, plugin.api.step(0) })
  end)

  it("of a load leaves no plugin, and the next load is well", function()
    local path = t.tmpdir() .. "/plugin.so"
    assert(uv.fs_copyfile(t.build(source:format(1)), path))
    hot.load(path, { name = "faulty" }):close()
    local before
    for round = 1, 2 do
      for _, stage in ipairs(reload.stages) do
        if stage ~= "rehearse" then
          reload.fail_at(stage)
          assert.error_matches(function() hot.load(path, { name = "faulty" }) end, "failure injected at stage '" .. stage)
          assert.is_nil(hot.get "faulty")
          if round == 2 then await_no_more(before) end
        end
      end
      before = measure()
    end
    local plugin <close> = hot.load(path, { name = "faulty" })
    assert.are.equal(1, plugin.api.version())
  end)
end)

describe("too few descriptors", function()
  local script = [[
    local hot = require "hotlua"
    local plugin = hot.load(arg[1])
    assert(plugin.api.version() == 1 and plugin.api.step(2) == 2)
    local report, refusal = plugin:reload()
    assert(report or #refusal.error > 0)
    plugin:close()
    print "ended well"
  ]]

  it("end in a message, never in a crash", function()
    local main = t.write(t.tmpdir() .. "/main.lua", script)
    local path = t.build(source:format(1))
    local outcomes = {}
    for limit = 6, 40 do -- with fewer libuv itself ends the process
      local pipe = assert(io.popen(("exec 2>&1; ulimit -n %d; exec '%s' %s %s"):format(limit, uv.exepath(), main, path)))
      local output = pipe:read "a"
      local ok, how, status = pipe:close()
      outcomes[#outcomes + 1] = ok and "well" or "refused"
      assert.are.equal("exit", how, output)
      assert.are.equal(ok and 0 or 1, status, output)
      assert.matches(ok and "ended well" or "[Tt]oo many open files", output)
    end
    assert.matches("^[refused ]+[well ]+$", table.concat(outcomes, " "))
    assert.are.equal("refused", outcomes[1])
    assert.are.equal("well", outcomes[#outcomes])
  end)
end)
