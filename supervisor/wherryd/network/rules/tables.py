"""The rules themselves, in nft(8)'s language: written when the tables are made, and never changed after.

What a packet of a connection that is established passes on its way is as short as it can be: a chain with a
hook and a look into a set cost it some 50 ns each.

TABLE, PUBLISHED, ASKED, CALLED and QUICK stand for what ruleset.py puts in their place; what fills the sets
and maps is there, too.
"""

from __future__ import annotations

PUBLISHED = "0x00200000"
"""The bit of a packet's mark that lets it pass between containers of one network that are kept apart.

Only packets of such networks ever have it: what goes to a published port may stay on its bridge, where
with br_netfilter nothing else tells it from what is to be dropped.
"""

RATE, BURST = 5000, 500
"""Questions about names a second of one container, and at once.

Counted here, too, and not by the name server only: what a container sends beyond that costs nobody else's
time, and is not in the way of others' questions, which wait at the same socket.
"""

CALL_RATE, CALL_BURST = 500, 100
"""Connections to ask by; they take the name server ten times as long as a question."""

QUICK = "ct state established accept"
"""Spares most packets two looks into maps. Not there while there is an internal network: what was established
when another network had its addresses would have a way into it, or out.
"""

TABLES = """
table inet TABLE {
  set bridges { type ifname; }
  set internal { type ifname; }
  map leaving { type ifname : verdict; }
  map entering { type ifname : verdict; }
  set same { type ifname . ifname; }
  set apart { type ifname; }
  set gateways4 { type ifname . ipv4_addr; }
  set gateways6 { type ifname . ipv6_addr; }
  set hosts4 { type ipv4_addr; }
  set hosts6 { type ipv6_addr; }
  set networks4 { type ifname . ipv4_addr; flags interval; }
  set networks6 { type ifname . ipv6_addr; flags interval; }
  set outward4 { type ipv4_addr; flags interval; }
  set outward6 { type ipv6_addr; flags interval; }
  set named4 { type ifname . ipv4_addr; }
  set named6 { type ifname . ipv6_addr; }
  set askers4 { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 10s; }
  set askers6 { type ipv6_addr; size 65535; flags dynamic,timeout; timeout 10s; }
  set callers4 { type ipv4_addr; size 65535; flags dynamic,timeout; timeout 10s; }
  set callers6 { type ipv6_addr; size 65535; flags dynamic,timeout; timeout 10s; }
  map names4 { type ifname . ipv4_addr . inet_proto : inet_service; }
  map names6 { type ifname . ipv6_addr . inet_proto : inet_service; }
  map ports4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map ports6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }
  map anyports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map anyports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }

  chain early {
    type filter hook prerouting priority raw; policy accept;
    ip daddr 127.0.0.0/8 iifname != "lo" drop
    ip saddr 127.0.0.0/8 iifname != "lo" drop
    th dport 53 jump naming
  }

  chain naming {
    meta l4proto udp goto asking
    tcp flags & (syn | ack) == syn goto calling
  }

  chain asking {
    iifname . ip daddr @named4 update @askers4 { ip saddr limit rate over ASKED } drop
    iifname . ip6 daddr @named6 update @askers6 { ip6 saddr limit rate over ASKED } drop
  }

  chain calling {
    iifname . ip daddr @named4 update @callers4 { ip saddr limit rate over CALLED } drop
    iifname . ip6 daddr @named6 update @callers6 { ip6 saddr limit rate over CALLED } drop
  }

  chain published {
    dnat ip to ip daddr . meta l4proto . th dport map @ports4
    dnat ip to meta l4proto . th dport map @anyports4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6
    dnat ip6 to meta l4proto . th dport map @anyports6
  }

  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    meta l4proto { tcp, udp } th dport 53 redirect to :iifname . ip daddr . meta l4proto map @names4
    meta l4proto { tcp, udp } th dport 53 redirect to :iifname . ip6 daddr . meta l4proto map @names6
    fib daddr type local jump published
  }

  chain output {
    type nat hook output priority -100; policy accept;
    ip6 daddr ::1 accept
    fib daddr type local jump published
  }

  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat oifname . ip saddr @networks4 masquerade
    ct status dnat oifname . ip6 saddr @networks6 masquerade
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    oifname != @bridges ip saddr @outward4 masquerade
    oifname != @bridges ip6 saddr @outward6 masquerade
  }

  chain input {
    type filter hook input priority filter; policy accept;
    iifname "lo" accept
    ip daddr @hosts4 iifname . ip daddr != @gateways4 drop
    ip6 daddr @hosts6 iifname . ip6 daddr != @gateways6 drop
    iifname @internal ip6 daddr fe80::/10 accept
    iifname @internal ip6 daddr ff00::/8 accept
    iifname @internal meta nfproto ipv4 iifname . ip daddr != @gateways4 drop
    iifname @internal meta nfproto ipv6 iifname . ip6 daddr != @gateways6 drop
  }

  chain forward {
    type filter hook forward priority filter; policy accept;
    QUICK
    iifname vmap @leaving
    oifname vmap @entering
  }

  chain outward {
    ct state established,related accept
    iifname . oifname @same accept
    oifname vmap @entering
    ct state invalid drop
  }

  chain within {
    iifname . oifname @same accept
    drop
  }

  chain inward {
    ct state established,related accept
    ct status dnat accept
    drop
  }
}
table bridge TABLE {
  set links { type ifname; }
  set isolated { type ifname; }
  set sources4 { type ifname . ether_addr . ipv4_addr; }
  set sources6 { type ifname . ether_addr . ipv6_addr; }
  set neighbours { typeof iifname . ether saddr . @th,64,128; }

  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    ip daddr 127.0.0.0/8 iifname @links drop
    iifname . ether saddr . ip saddr @sources4 accept
    iifname @links goto from_container
  }

  chain forward {
    type filter hook forward priority -200; policy accept;
    meta mark & PUBLISHED != 0 accept
    iifname @isolated oifname @isolated drop
  }

  chain from_container {
    iifname . ether saddr . arp saddr ip @sources4 iifname . arp saddr ether . arp saddr ip @sources4 accept
    icmpv6 type { nd-router-advert, nd-redirect } drop
    icmpv6 type nd-neighbor-advert iifname . ether saddr . @th,64,128 != @neighbours drop
    iifname . ether saddr . ip6 saddr @sources6 accept
    ip6 saddr :: accept
    drop
  }
}
"""

MARKING = """
table inet TABLE {
  chain marking {
    type filter hook prerouting priority -90; policy accept;
    iifname @apart ct status dnat meta mark set meta mark | PUBLISHED
  }
}
"""
"""Made once a network keeps its containers apart: every packet of the machine passes a chain with a hook."""
