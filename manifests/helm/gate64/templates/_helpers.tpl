{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* Of every object, not of pods: an upgrade of the chart alone replaces no pod. */}}
{{- define "gate64.labels" -}}
app.kubernetes.io/part-of: gate64
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "gate64.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The port of an endpoint such as "[::]:9164". */}}
{{- define "gate64.port" -}}
{{ regexFind "[0-9]+$" . }}
{{- end }}

{{- define "gate64.dnsPort" -}}
{{- $dns := .dns | default dict -}}
{{- include "gate64.port" (first ($dns.listen | default (list "[::]:5364"))) -}}
{{- end }}

{{/* The same address, one port further. */}}
{{- define "gate64.nextPort" -}}
{{ regexReplaceAll "[0-9]+$" . (include "gate64.port" . | int | add1 | toString) }}
{{- end }}

{{- define "gate64.dnsPorts" -}}
- { name: dns, containerPort: {{ include "gate64.dnsPort" . }}, protocol: UDP }
- { name: dns-tcp, containerPort: {{ include "gate64.dnsPort" . }}, protocol: TCP }
{{- end }}

{{- define "gate64.metricsPort" -}}
- { name: metrics, containerPort: {{ include "gate64.port" .http.listen }}, protocol: TCP }
{{- end }}

{{/* The file of the NAT64: all of it where it answers DNS too. */}}
{{- define "gate64.nat64Config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if ne .Values.dns.form "daemonset" -}}
{{- $_ := set $config "dns" (dict "enabled" false) -}}
{{- end -}}
{{- if eq .Values.dns.form "deployment" -}}
{{- $from := list (printf "gate64-names:%s" (include "gate64.port" $config.http.listen)) -}}
{{- $_ := set $config "telemetry" (merge (omit ($config.telemetry | default dict) "shareNames") (dict "namesFrom" $from)) -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}

{{/* The file of a DNS64 apart. It shows no name an address that the NAT64 refuses. On the node's network beside the DaemonSet's
pod it has the next ports. */}}
{{- define "gate64.dnsConfig" -}}
{{- $config := deepCopy .Values.config -}}
{{- $nat64 := pick ($config.nat64 | default dict) "deny" "allowNonGlobalIpv4" -}}
{{- $_ := set $config "nat64" (set $nat64 "enabled" false) -}}
{{- if eq .Values.dns.form "deployment" -}}
{{- $_ := set $config "telemetry" (merge (omit ($config.telemetry | default dict) "namesFrom") (dict "shareNames" true)) -}}
{{- end -}}
{{- if eq .Values.dns.form "daemonset" -}}
{{- $dns := $config.dns | default dict -}}
{{- $next := list -}}
{{- range $dns.listen | default (list "[::]:5364") -}}
{{- $next = append $next (include "gate64.nextPort" .) -}}
{{- end -}}
{{- $_ := set $config "dns" (set $dns "listen" $next) -}}
{{- $_ := set $config.http "listen" (include "gate64.nextPort" $config.http.listen) -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}

{{/* MiB: 720 octets a session and their tables' growth, 512 for the rest, 512 more for a full DNS64. */}}
{{- define "gate64.nat64Memory" -}}
{{- $sessions := (.Values.config.nat64 | default dict).maxSessions | default 1048576 | int64 -}}
{{- $dns := ternary 512 0 (eq .Values.dns.form "daemonset") -}}
{{ add (div (add (mul $sessions 768) 1048575) 1048576) 512 $dns }}Mi
{{- end }}

{{/* resources: what is given, and a memory limit in any case. */}}
{{- define "gate64.resources" -}}
{{- $given := deepCopy (.given | default dict) -}}
{{- $limits := merge (deepCopy ($given.limits | default dict)) (dict "memory" .memory) -}}
{{ toYaml (set $given "limits" $limits) }}
{{- end }}

{{/* The Services of the DNS64. */}}
{{- define "gate64.dnsHalves" -}}
{{- ternary list (list "a" "b") (eq .Values.dns.form "none") | toJson -}}
{{- end }}

{{/* Those with a Deployment behind them: the DaemonSet may be the other. */}}
{{- define "gate64.dnsDeployments" -}}
{{- get (dict "deployment" (list "a" "b") "daemonset" (list "b") "none" list) .Values.dns.form | toJson -}}
{{- end }}
