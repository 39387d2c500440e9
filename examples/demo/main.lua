-- The main job in a few seconds, by itself: a program runs while its C source is edited. Works on a copy in a
-- temporary folder, so that nothing in the checkout changes.
local hot = require "hotlua"
local uv = require "luv"

local here = arg[0]:match("^(.*)/") or "."
local began = uv.hrtime()
local colours = uv.guess_handle(1) == "tty" and not os.getenv("NO_COLOR")

local function say(colour, mark, text)
  local time = ("%5.1f s"):format((uv.hrtime() - began) / 1e9)
  if colours then
    print(("\27[2m%s\27[0m \27[%sm%s %s\27[0m"):format(time, colour, mark, text))
  else
    print(("%s %s %s"):format(time, mark, text))
  end
end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

local directory = assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/hotlua-demo-XXXXXX"))
local source, object = directory .. "/greeter.c", directory .. "/greeter.so"
local original = read(here .. "/greeter.c")
write(source, original)

local function ms(us)
  local value = us / 1000
  return value < 1 and ("%.2f"):format(value) or ("%.0f"):format(value)
end

-- What a report's error says: the compiler's errors, or else its first line.
local function first_lines(text, count)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    if line:find("error:", 1, true) and #lines < count then lines[#lines + 1] = line end
  end
  lines[1] = lines[1] or text:match("[^\n]*")
  for i, line in ipairs(lines) do lines[i] = "          " .. line:gsub(directory:gsub("%p", "%%%0") .. "/", "") end
  return table.concat(lines, "\n")
end

require("hotlua.build").show = function() end -- the `failed` handler below shows what the compiler wrote

local settled -- what the last reload came to
local greeter = hot.load(object, {
  watch = { source },
  build = ("cc -g -shared -fPIC -o %s %s"):format(object, source),
  on = {
    before_load = function(new)
      if new.api.version > 90 then new:cancel("version " .. new.api.version .. " is not ready") end
    end,
    loaded = function(_, report)
      settled = report
      if report.from == 0 then return end
      local us = report.us
      say("32", "✓", ("saved → live %s ms (compile %s, reload %s, pause %s), kept: %s"):format(ms(report.total_us),
        ms(us.build), ms(report.total_us - us.build), ms(report.pause_us), table.concat(report.kept, ", ")))
    end,
    failed = function(report)
      settled = report
      say("31", "✗", ("refused at stage '%s', generation %d goes on:"):format(report.stage, report.generation))
      print(first_lines(report.error, 2))
    end,
    rolled_back = function(report)
      settled = report
      say("33", "↩", ("rolled back to generation %d, pause %s ms"):format(report.generation, ms(report.pause_us)))
    end,
  },
})
settled = nil

local last
hot.every(400, function()
  last = greeter.api.greet("world")
  say("0", " ", last)
end)

-- Saves an edit and waits until it came to something.
local function edit(what, from, to)
  hot.sleep(900)
  settled = nil
  say("36", "✎", what)
  local text = read(source)
  local first, after = text:find(from, 1, true)
  assert(first, from)
  write(source, text:sub(1, first - 1) .. to .. text:sub(after + 1))
  local limit = uv.hrtime() + 20e9
  while not settled and uv.hrtime() < limit do hot.sleep(10) end
  assert(settled, "nothing came of the edit")
  return settled
end

say("1", "▶", "a Lua program calls greet() in greeter.c; now we edit the C source while it runs")
assert(edit('in greeter.c: "Hello" becomes "Good morning"', "Hello", "Good morning").ok)
assert(not edit("a mistake: one semicolon goes", "++count);", "++count)").ok)
assert(edit('mended, and "Good morning" becomes "Good evening"', '"Good morning, %s! (greeting %d)", name, ++count)',
  '"Good evening, %s! (greeting %d)", name, ++count);').ok)
assert(not edit("version = 99, which main.lua refuses in before_load", "version = 1", "version = 99").ok)
hot.sleep(900)
say("36", "✎", "greeter:rollback()")
assert(greeter:rollback())
hot.sleep(900)
assert(last:find("Good morning", 1, true), "the rollback did not come")
say("1", "■", ("done: %d reloads, %d refusals, and the count went on: %s"):format(
  greeter:info().reloads, greeter:info().failures, last))
greeter:close()
for _, path in ipairs { source, object } do os.remove(path) end
uv.fs_rmdir(directory)
os.exit(0, true)
