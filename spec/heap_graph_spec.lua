-- Typed heap objects, drawn at random: a graph of nodes and arrays that changes between reloads of random
-- layouts, some refused, some rolled back, against a model of the same graph in plain integers. HOTLUA_GRAPHS
-- is how many, HOTLUA_SEED which ones.
local t = require "hotlua.test"

local text = [==[
#include <hotlua/plugin.h>
enum { NODES = 400, ARRAYS = 60 };
struct leaf { $A short x; $B };
struct node {
  $C int id; struct leaf leaf; struct node *edge[3]; short *inside; $D struct leaf *leaves;
  void (*mark)(struct node *); $E
};
struct box { struct node *node; int *id; };
static struct node *nodes[NODES];
static struct leaf *arrays[ARRAYS];
static int lengths[ARRAYS];
static struct box *boxes;
/* The model, without pointers. */
static int edge[NODES][3], inside[NODES], owner[NODES], place[NODES];
static void mark(struct node *n) { n->leaf.x = (short)(n->id * 3); }
static unsigned next;
void seed(unsigned s) { next = s; }
static unsigned draw(unsigned n) { next = next * 1103515245u + 12345u; return (next >> 8) % n; }
static void link_node(int i) {
  int to = (int)draw(NODES);
  for (int k = 0; k < 3; k++, to = (int)draw(NODES)) {
    edge[i][k] = nodes[to] ? to : -1; nodes[i]->edge[k] = nodes[to];
  }
  inside[i] = nodes[to] ? to : -1; nodes[i]->inside = nodes[to] ? &nodes[to]->leaf.x : NULL;
  int a = (int)draw(ARRAYS);
  owner[i] = arrays[a] ? a : -1; nodes[i]->leaves = NULL;
  if (!arrays[a]) return;
  place[i] = (int)draw((unsigned)lengths[a] + 1);
  nodes[i]->leaves = arrays[a] + place[i];
}
static void make(int i) {
  nodes[i] = hot_new(struct node); nodes[i]->id = i; nodes[i]->mark = mark; mark(nodes[i]); link_node(i);
  boxes[i].node = nodes[i]; boxes[i].id = &nodes[i]->id;
}
static void drop(int i) {
  hot_free(nodes[i]); nodes[i] = NULL; boxes[i].node = NULL; boxes[i].id = NULL;
  for (int j = 0; j < NODES; j++) {
    if (!nodes[j]) continue;
    for (int k = 0; k < 3; k++) if (edge[j][k] == i) { edge[j][k] = -1; nodes[j]->edge[k] = NULL; }
    if (inside[j] == i) { inside[j] = -1; nodes[j]->inside = NULL; }
  }
}
static void make_array(int a) {
  lengths[a] = (int)draw(200); arrays[a] = hot_new_array(struct leaf, (size_t)lengths[a]);
  for (int i = 0; i < lengths[a]; i++) arrays[a][i].x = (short)(a * 100 + i);
}
static void drop_array(int a) {
  hot_free(arrays[a]); arrays[a] = NULL;
  for (int j = 0; j < NODES; j++) if (nodes[j] && owner[j] == a) { owner[j] = -1; nodes[j]->leaves = NULL; }
}
void churn(int rounds) {
  if (!boxes) boxes = hot_new_array(struct box, NODES);
  for (int r = 0; r < rounds; r++) {
    int i = (int)draw(NODES), a = (int)draw(ARRAYS);
    if (draw(4) == 0) { if (arrays[a]) drop_array(a); else make_array(a); }
    if (!nodes[i]) make(i); else if (draw(3) == 0) drop(i); else link_node(i);
  }
}
void waste(void) {
  for (int i = 0; i < 40; i++) {
    hot_free(nodes[i]); hot_free(arrays[i]); hot_new(struct node); hot_new_array(struct leaf, 9);
  }
}
int count(void) {
  int n = boxes != NULL;
  for (int i = 0; i < NODES; i++) n += nodes[i] != NULL;
  for (int a = 0; a < ARRAYS; a++) n += arrays[a] != NULL;
  return n;
}
int check(void) {
  for (int i = 0; i < NODES; i++) {
    struct node *n = nodes[i];
    if (boxes[i].node != n || boxes[i].id != (n ? &n->id : NULL)) return 1;
    if (!n) continue;
    if (n->id != i || n->leaf.x != (short)(i * 3)) return 2;
    for (int k = 0; k < 3; k++) if (n->edge[k] != (edge[i][k] < 0 ? NULL : nodes[edge[i][k]])) return 3;
    if (n->inside != (inside[i] < 0 ? NULL : &nodes[inside[i]]->leaf.x)) return 4;
    if (n->leaves != (owner[i] < 0 ? NULL : arrays[owner[i]] + place[i])) return 5;
    n->leaf.x = 0; n->mark(n); if (n->leaf.x != (short)(i * 3)) return 6;
  }
  for (int a = 0; a < ARRAYS; a++)
    for (int i = 0; arrays[a] && i < lengths[a]; i++)
      if (arrays[a][i].x != (short)(a * 100 + i)) return 7;
  return 0;
}
]==]

local seed <const> = tonumber(os.getenv "HOTLUA_SEED") or 1
local graphs <const> = tonumber(os.getenv "HOTLUA_GRAPHS") or 3

local fields = {
  { "A", "char a;", "long a;", "double a, aa;" }, { "B", "int b;", "char b[19];", "struct { short q; } b;" },
  { "C", "char c;", "int cc[5];", "long c;" }, { "D", "double d;", "char d; short dd;", "void *d;" },
  { "E", "char e;", "long e[4];", "int e : 3;" },
}

-- Versions whose structs have fields drawn at random.
local function versions(count)
  local built = {}
  for i = 1, count do
    local parts = {}
    for _, options in ipairs(fields) do
      if math.random(2) == 1 then parts[options[1]] = options[1 + math.random(3)] end
    end
    local source = text:gsub("%$([A-Z]+)", parts):gsub("%$[A-Z]+", "")
    built[i] = t.build(("%s int version(void) { return %d; }"):format(source, i))
  end
  return built
end

local function check(plugin, where)
  assert.are.equal(0, plugin.api.check(), where)
  assert.are.equal(plugin.api.count(), plugin:info().heap.objects, where)
end

-- One reload to another version, a refused one, or a rollback.
local function change(plugin, built, control)
  local what, to = math.random(10), nil
  if what == 1 then
    plugin:rollback()
    return "a rollback"
  end
  repeat to = math.random(#built) until to ~= plugin.api.version()
  control.must_fail = what == 2
  local report = t.swap(plugin, built[to])
  assert.are.equal(what == 2, report == nil)
  return what == 2 and "a refused reload" or "a reload"
end

describe("random graphs", function()
  it(("keep every edge (HOTLUA_SEED=%d)"):format(seed), function()
    math.randomseed(seed)
    local built = versions(12)
    for graph = 1, graphs do
      local control = {}
      local plugin = t.load(built[1], { keep = math.random(0, 2), migrate = function(new)
        if not control.must_fail then return end
        new.api.waste()
        error "no way"
      end })
      plugin.api.seed(math.random(1, 1 << 30))
      for step = 1, 30 do
        plugin.api.churn(math.random(0, 300))
        check(plugin, ("graph %d, step %d"):format(graph, step))
        local what = change(plugin, built, control)
        check(plugin, ("graph %d, step %d, after %s"):format(graph, step, what))
      end
      plugin:close()
    end
  end)
end)
