-- What types cost a reload in which nobody uses them: a plugin of 2,000 functions and structs, beside the
-- same file whose debug information bears another name (as many bytes to copy, no types) and beside the one
-- stripped of it.
local hot = require "hotlua"
local uv = require "luv"
local cc = os.getenv("CC") or "cc"

local rounds <const>, functions <const> = 15, 2000

local function run(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read("a")
  assert(pipe:close(), command)
  return output
end

local directory = run("mktemp -d -p /dev/shm 2>/dev/null || mktemp -d"):match("%S+")

local function source(version)
  local parts = { ("int version(void) { return %d; }\n"):format(version) }
  for i = 1, functions - 1 do
    parts[#parts + 1] = ([[
struct item_%d { int id; double weight; char label[24]; struct item_%d *next; unsigned flags : 5; };
int work_%d(int a, int b, struct item_%d *item)
{
    double sum = a;
    for (int i = 0; i < b; i++) { sum += i * item->weight; if (sum > 1e6) sum = -sum; item->id += (int)sum; }
    switch (a) { case 1: sum *= 2; break; case 2: sum /= 3; break; case 3: sum -= b; break; default: sum += 1; }
    for (int i = 0; i < b; i++) { item->label[i %% 24] = (char)(sum + i); item->flags ^= (unsigned)i & 31; }
    return (int)sum + item->id;
}
]]):format(i, i, i, i)
  end
  return table.concat(parts)
end

local function build(version)
  local path = ("%s/v%d"):format(directory, version)
  local file <close> = assert(io.open(path .. ".c", "w"))
  file:write(source(version))
  file:flush()
  run(("%s -g -O1 -shared -fPIC -o %s.so %s.c"):format(cc, path, path))
  run(("strip -g -o %s-bare.so %s.so"):format(path, path))
  run(("objcopy --rename-section .debug_info=.hidden_info %s.so %s-hidden.so"):format(path, path))
end

local function copy(from, to)
  assert(uv.fs_copyfile(from, to .. ".new"))
  assert(uv.fs_rename(to .. ".new", to))
end

local function open(label, options)
  local path = ("%s/%s.so"):format(directory, label)
  options.watch, options.name = false, label
  copy(("%s/v1%s.so"):format(directory, options.suffix), path)
  local suffix = options.suffix
  options.suffix = nil
  return { plugin = hot.load(path, options), path = path, suffix = suffix, times = {}, pauses = {} }
end

local function reload(case, version)
  copy(("%s/v%d%s.so"):format(directory, version, case.suffix), case.path)
  local report = assert(case.plugin:reload())
  table.insert(case.times, report.total_us)
  table.insert(case.pauses, report.pause_us)
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

build(1)
build(2)
local cases = {
  open("bare", { suffix = "-bare" }),
  open("hidden", { suffix = "-hidden" }),
  open("types", { suffix = "" }),
  open("used", { suffix = "" }),
}
cases[4].plugin.api.version()
for round = 1, rounds do
  for _, case in ipairs(cases) do reload(case, round % 2 + 1) end
end

local line = "%-34s %10s %10s %8s"
print(line:format("reload of 2,000 functions, us", "total", "pause", "ratio"))
local base = median(cases[2].times)
for i, label in ipairs {
  "stripped of debug information", "as large, without types", "with types that nobody uses", "with one function in use",
} do
  local total = median(cases[i].times)
  print(line:format(label, total, median(cases[i].pauses), ("%.2f"):format(total / base)))
end
for _, case in ipairs(cases) do case.plugin:close() end
run("rm -rf " .. directory)
