-- Files that are no plugin, or no longer, or not yet: each gives an error that names its stage, none ends
-- or hangs the host, and a plugin that is live goes on.
local hot = require "hotlua"
local t = require "hotlua.test"
local uv = require "luv"

local source = [[
#include <stdio.h>
struct point { int x, y; double weight; };
enum colour { RED, GREEN = 7 };
struct point origin = { 1, 2, 0.5 };
const char *const names[] = { "red", "green" };
static int calls;
__thread int per_thread = 4;
int (*hook)(int);
__attribute__((constructor)) static void begin(void) { calls = 100; }
__attribute__((destructor)) static void end(void) { calls = 0; }
int call(void) { return ++calls; }
int add(int a, int b) { return a + b + per_thread; }
double length(const struct point *p) { return p->x * p->weight; }
enum colour pick(struct point p) { return p.x ? RED : GREEN; }
void say(const char *text) { printf("%s %s\n", text, names[0]); }
]]

local stages = { copy = true, verify = true, probe = true, open = true, bind = true, carry = true }

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- The plugin that lives while bad files come to its path.
local function start(options)
  local plugin = t.load(source, options or { watch = false })
  plugin.api.call()
  return plugin, plugin:info().path
end

local function check_alive(plugin, count)
  assert.are.equal(101 + count, plugin.api.call())
  assert.are.equal(1, plugin.api.origin.x)
end

-- Puts the bytes in the place of the plugin's file. A file written over would be one more kind of bad.
local function put(path, bytes)
  t.write(path .. ".new", bytes)
  assert(os.rename(path .. ".new", path))
end

-- Reloads, which must fail; returns the report.
local function refused(plugin)
  local none, report = plugin:reload()
  assert.is_nil(none)
  assert.is_true(stages[report.stage], "stage " .. tostring(report.stage))
  assert.matches(plugin:info().path, report.error, 1, true)
  return report
end

-- A reload that may go either way; reads whatever the new image says of itself.
local function tried(plugin, counts)
  local report, failure = plugin:reload()
  if report then
    counts.ok = (counts.ok or 0) + 1
    pcall(plugin.dump, plugin)
    for _, export in ipairs(plugin:exports()) do tostring(export) end
    return tostring(report)
  end
  assert.is_true(stages[failure.stage], "stage " .. tostring(failure.stage))
  counts[failure.stage] = (counts[failure.stage] or 0) + 1
end

describe("a file that is", function()
  local function case(what, change, stage, pattern)
    it(what, function()
      local plugin, path = start()
      change(path)
      local began = uv.hrtime()
      local report = refused(plugin)
      assert.is_true(uv.hrtime() - began < 2e9)
      assert.are.equal(stage, report.stage)
      assert.matches(pattern, report.error)
      check_alive(plugin, 1)
      local ok, message = pcall(hot.load, path, { watch = false, name = "another" })
      assert.is_false(ok)
      assert.matches(pattern, message)
    end)
  end

  local function run(command)
    return function(path)
      assert(os.remove(path))
      assert(os.execute(command:gsub("PATH", path)))
    end
  end

  case("missing", os.remove, "copy", "No such file")
  case("empty", run ": > PATH", "copy", "is empty")
  case("a directory", run "mkdir PATH", "copy", "is a directory")
  case("a FIFO that nobody writes to", run "mkfifo PATH", "copy", "not a regular file")
  case("a device", run "ln -s /dev/zero PATH", "copy", "not a regular file")
  case("a link to itself", run "ln -s PATH PATH", "copy", "symbolic links")
  case("a link to nothing", run "ln -s nothing PATH", "copy", "No such file")
  case("4 GiB of hole", run "truncate -s 4G PATH", "copy", "4 GiB")
  case("a gigabyte of hole behind a good beginning", function(path)
    assert(os.execute("truncate -s 1G " .. path))
  end, "copy", "hole")
  case("a small hole", run "truncate -s 100000 PATH", "verify", "begins with zeros")
  case("text", run "echo hello > PATH", "verify", "not an ELF file")
  case("a script", run "echo '#!/bin/sh' > PATH", "verify", "a script")
  case("a static library", function(path)
    local directory = t.tmpdir()
    t.write(directory .. "/a.c", "int a;")
    assert(os.execute(("cd %s && cc -c a.c && rm -f %s && ar qc %s a.o"):format(directory, path, path)))
  end, "verify", "static library")
  case("an object file", function(path)
    t.write(path .. ".c", source)
    assert(os.execute(("cc -c -fPIC -o %s %s.c"):format(path, path)))
  end, "verify", "object file")
  case("an executable", function(path)
    t.write(path .. ".c", "int main(void) { return 0; }")
    assert(os.execute(("rm -f %s; cc -o %s %s.c"):format(path, path, path)))
  end, "verify", "executable")
  case("of another machine", function(path)
    local bytes = read(path)
    put(path, bytes:sub(1, 18) .. "\xb7\0" .. bytes:sub(21))
  end, "verify", "aarch64")
  case("only debug information", function(path)
    assert(os.execute(("objcopy --only-keep-debug %s %s.debug && mv %s.debug %s"):format(path, path, path, path)))
  end, "verify", "%S")

  it("not readable", function()
    local _, path = start()
    assert(uv.fs_chmod(path, 0))
    assert(uv.fs_chmod(path:match "^(.*)/", 493)) -- 0755
    local script = t.write(path .. ".lua", ("print(pcall(require 'hotlua'.load, %q))"):format(path))
    local as_another = uv.getuid() == 0 and "setpriv --reuid=65534 --regid=65534 --clear-groups " or ""
    local pipe <close> = assert(io.popen(("%s%s %s 2>&1"):format(as_another, uv.exepath(), script)))
    assert.matches("^false.*Permission denied", pipe:read "a")
  end)
end)

describe("a file cut off", function()
  it("after every 64 bytes is refused when it is checked", function()
    local plugin, path = start()
    local whole = read(path)
    local count = 0
    for length = 64, #whole - 1, 64 do
      put(path, whole:sub(1, length))
      local report = refused(plugin)
      assert.are.equal("verify", report.stage)
      assert.matches("truncated", report.error)
      count = count + 1
    end
    assert.is_true(count > 150)
    check_alive(plugin, 1)
  end)

  it("in its middle, with zeros for the rest, is refused or harmless", function()
    local plugin, path = start()
    local whole = read(path)
    local counts = {}
    for length = 64, #whole - 1, 256 do
      put(path, whole:sub(1, length) .. ("\0"):rep(#whole - length))
      tried(plugin, counts)
    end
    assert.is_true(counts.verify > 20)
    put(path, whole)
    assert(plugin:reload())
    assert.is_number(plugin.api.call())
  end)
end)

-- The places of a file whose bytes mean something to whoever loads or reads it: name -> list of { offset,
-- size }.
local function parts(bytes)
  local section_offset = string.unpack("<I8", bytes, 41)
  local segment_size, segment_count, _, section_count, names = string.unpack("<I2I2I2I2I2", bytes, 55)
  local segment_offset = string.unpack("<I8", bytes, 33)
  local found = {
    headers = { { 0, 64 }, { segment_offset, segment_size * segment_count }, { section_offset, 64 * section_count } },
    loader = {}, debug = {}, data = {},
  }
  local function section(index)
    local name, _, flags, _, offset, size = string.unpack("<I4I4I8I8I8I8", bytes, section_offset + 64 * index + 1)
    return name, flags, offset, size
  end
  local _, _, names_offset = section(names)
  for index = 1, section_count - 1 do
    local name, flags, offset, size = section(index)
    local text = string.unpack("z", bytes, names_offset + name + 1)
    local place = { offset, size }
    if text == ".dynamic" or text:find "^%.dyn" or text:find "^%.rela" or text:find "^%.gnu" or text:find "array" then
      table.insert(found.loader, place)
    elseif text:find "^%.debug" then
      table.insert(found.debug, place)
    elseif flags & 2 ~= 0 and flags & 4 == 0 and text ~= ".bss" then
      table.insert(found.data, place)
    end
  end
  return found
end

-- The same mutants at each run.
local function generator(seed)
  return function(limit)
    seed = (seed * 6364136223846793005 + 1442695040888963407) & 0x7fffffffffffffff
    return (seed >> 24) % limit
  end
end

local interesting = { "\0", "\1", "\x7f", "\x80", "\xff", "\0\0\0\0", "\xff\xff\xff\xff", "\xff\xff\xff\x7f" }

local function mutant(bytes, places, random)
  local place
  repeat place = places[random(#places) + 1] until place[2] > 0
  local at = place[1] + random(place[2])
  local patch = random(2) == 0 and string.char(random(256)) or interesting[random(#interesting) + 1]
  return (bytes:sub(1, at) .. patch .. bytes:sub(at + #patch + 1)):sub(1, #bytes)
end

describe("a file with bytes changed in its", function()
  for part, number in pairs { headers = 1200, loader = 1500, data = 300, debug = 1200 } do
    it(part .. ": " .. number .. " of them", function()
      local plugin, path = start({ watch = false, keep = 0 })
      local whole = read(path)
      local places, random, counts = parts(whole)[part], generator(#part), {}
      for _ = 1, number do
        put(path, mutant(whole, places, random))
        tried(plugin, counts)
      end
      if part == "headers" then assert.is_true(counts.verify > number / 4) end
      put(path, whole)
      assert(plugin:reload())
      assert.is_number(plugin.api.call())
    end)
  end
end)

-- Such a one is opened here without a trial.
describe("a file without constructors", function()
  local plain = "static int calls; int call(void) { return ++calls; } int add(int a, int b) { return a + b; }"

  local function plant()
    local plugin = t.load(plain, { watch = false, keep = 0 })
    return plugin, plugin:info().path, read(plugin:info().path)
  end

  local function check_whole(plugin, path, whole)
    put(path, whole)
    assert(plugin:reload())
    assert.is_number(plugin.api.call())
  end

  it("and with a hole of zeros anywhere is refused or harmless", function()
    local plugin, path, whole = plant()
    local counts = {}
    for _, size in ipairs { 64, 512, 4096 } do
      for from = 64, #whole - size, size == 64 and 192 or size do
        put(path, whole:sub(1, from) .. ("\0"):rep(size) .. whole:sub(from + size + 1))
        tried(plugin, counts)
      end
    end
    assert.is_true(counts.probe > 2)
    check_whole(plugin, path, whole)
  end)

  it("and with a byte of its start files' code changed is refused or harmless", function()
    local plugin, path, whole = plant()
    local random, counts = generator(7), {}
    for at = 0x1000, 0x113f do
      put(path, whole:sub(1, at) .. string.char(whole:byte(at + 1) ~ 1 << random(8)) .. whole:sub(at + 2))
      tried(plugin, counts)
    end
    check_whole(plugin, path, whole)
  end)

  it("that is whole needs no trial", function()
    if uv.os_uname().machine ~= "x86_64" then return pending "start files are known on x86-64 only" end
    local plugin, path, whole = plant()
    put(path, whole .. " ")
    assert.is_nil(assert(plugin:reload()).us.probe)
    put(path, read(t.build(plain .. "\n__attribute__((constructor)) static void begin(void) { calls = 5; }")))
    assert.is_number(assert(plugin:reload()).us.probe)
  end)
end)

describe("a file that changes under our hands:", function()
  it("a slow writer's is taken when it is whole", function()
    local plugin, path = start({})
    local new = t.build((source:gsub("calls = 100", "calls = 500")))
    assert(os.execute(("( for i in 0 1 2 3 4 5 6 7 8 9; do dd if=%s bs=2000 skip=$i count=1 status=none; "
      .. "sleep 0.02; done; tail -c +20001 %s ) > %s"):format(new, new, path)))
    t.await(function() return plugin:info().generation == 2 end)
    assert.are.equal(0, plugin:info().failures)
  end)

  it("one written and deleted without pause ends with the last version", function()
    local plugin, path = start({})
    local new = read(t.build((source:gsub("calls = 100", "calls = 900"))))
    local old = read(path)
    for i = 1, 60 do
      local file <close> = assert(io.open(path, "wb"))
      assert(file:write((i % 2 == 0 and old or new):sub(1, i * 311)))
      if i % 7 == 0 then assert(os.remove(path)) end
      hot.poll()
    end
    put(path, new)
    t.await(function() return plugin:info().generation >= 2 and plugin:info().last.ok end)
    assert.are.equal(102, plugin.api.call())
  end)

  it("one deleted while it is loaded", function()
    local plugin, path = start({})
    local new = t.build((source:gsub("calls = 100", "calls = 700")))
    assert(os.execute(("cp %s %s.new && mv %s.new %s; rm %s"):format(new, path, path, path, path)))
    local other <close> = t.load(source)
    assert.are.equal(101, other.api.call())
    assert(os.execute(("cp %s %s"):format(new, path)))
    t.await(function() return plugin:info().generation >= 2 end)
    assert.are.equal(102, plugin.api.call())
  end)

  it("the copy that is live does not see the file written over", function()
    local plugin, path = start()
    local file <close> = assert(io.open(path, "r+b"))
    assert(file:write(("\0"):rep(20000)))
    file:flush()
    check_alive(plugin, 1)
    assert(os.execute("truncate -s 0 " .. path))
    check_alive(plugin, 2)
  end)
end)
