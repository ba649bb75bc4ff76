{{- define "pronoia.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "pronoia.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "pronoia.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "pronoia.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pronoia.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* The pod of `helm test`: without the name that the Service selects. */}}
{{- define "pronoia.testLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: connection-test
{{- end -}}

{{- define "pronoia.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "pronoia.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* The chart's labels and a user's beside them; the chart's win, and no key stands twice. Takes (root, labels). */}}
{{- define "pronoia.labelsBeside" -}}
{{- merge (include "pronoia.labels" (first .) | fromYaml) (last .) | toYaml -}}
{{- end -}}

{{/* The seconds of a Prometheus duration. */}}
{{- define "pronoia.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 "w" 604800.0 "y" 31536000.0 -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9]+(ms|[smhdwy])" . -1 -}}
{{- $seconds = addf $seconds (mulf (regexFind "[0-9]+" . | float64) (index $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- $seconds -}}
{{- end -}}

{{/* What the Service selects: our own pods, or those of the Prometheus that holds our container. */}}
{{- define "pronoia.podSelector" -}}
{{- if eq .Values.mode "inPrometheus" -}}
{{- toYaml .Values.podSelector -}}
{{- else -}}
{{- include "pronoia.selectorLabels" . -}}
{{- end -}}
{{- end -}}

{{- define "pronoia.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pronoia.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "pronoia.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What the port speaks: https with server.tls. */}}
{{- define "pronoia.scheme" -}}
{{- ternary "https" "http" (not (empty (.Values.config.server).tls)) -}}
{{- end -}}

{{/* Where PrometheusRule objects go. */}}
{{- define "pronoia.rulesNamespace" -}}
{{- default .Release.Namespace .Values.rules.prometheusRule.namespace -}}
{{- end -}}

{{/* The configuration file: the user's, with the keys that belong to the chart laid over it. It listens on every
interface: pods of some clusters have IPv6 addresses only. */}}
{{- define "pronoia.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $ours := dict "server" (dict "listen" ":9469") "store" (dict "directory" "/var/lib/pronoia") -}}
{{- if eq .Values.rules.mode "directory" -}}
{{- $_ := set $ours "rules" (dict "directory" "/var/lib/pronoia-rules") -}}
{{- else if eq .Values.rules.mode "prometheusRule" -}}
{{- $object := dict "instance" (include "pronoia.fullname" .) "namespace" (include "pronoia.rulesNamespace" .) -}}
{{- with .Values.rules.prometheusRule.labels -}}
{{- $_ := set $object "labels" . -}}
{{- end -}}
{{- $_ := set $ours "rules" (dict "publish" "prometheus_rule" "prometheus_rule" $object) -}}
{{- else if eq .Values.rules.mode "ruler" -}}
{{- $_ := set $ours "rules" (dict "directory" "/var/lib/pronoia-rules") -}}
{{- $_ := set $ours "prometheus" (dict "url" "http://localhost:9090") -}}
{{/* The ruler asks for no credentials; those of the user's Prometheus go to rules.ruler.remoteRead. */}}
{{- $_ := unset $config.prometheus "http" -}}
{{- end -}}
{{- mergeOverwrite $config $ours | toYaml -}}
{{- end -}}

{{/* The ruler's configuration: everything read from the user's Prometheus, only our rules evaluated. */}}
{{- define "pronoia.rulerConfig" -}}
{{- $read := merge (dict "url" (printf "%s/api/v1/read" (trimSuffix "/" .Values.config.prometheus.url)) "read_recent" true) .Values.rules.ruler.remoteRead -}}
{{- $alertmanagers := list -}}
{{- range .Values.config.alertmanagers -}}
{{- $url := urlParse .url -}}
{{- $entry := dict "scheme" $url.scheme "static_configs" (list (dict "targets" (list $url.host))) -}}
{{- if and $url.path (ne $url.path "/") -}}
{{- $_ := set $entry "path_prefix" $url.path -}}
{{- end -}}
{{- $alertmanagers = append $alertmanagers (merge $entry $.Values.rules.ruler.alertmanager) -}}
{{- end -}}
{{- $global := dict "evaluation_interval" .Values.rules.ruler.evaluationInterval -}}
{{- with .Values.rules.ruler.externalLabels -}}
{{- $_ := set $global "external_labels" . -}}
{{- end -}}
{{- dict "global" $global "rule_files" (list "/var/lib/pronoia-rules/*.rules.yaml") "remote_read" (list $read) "alerting" (dict "alertmanagers" $alertmanagers) | toYaml -}}
{{- end -}}

{{/* Values that are right one by one and wrong together. */}}
{{- define "pronoia.checks" -}}
{{- if and (eq .Values.mode "inPrometheus") (not .Values.podSelector) -}}
{{- fail "podSelector: name the labels of Prometheus' pods when mode is inPrometheus" -}}
{{- end -}}
{{- if and (eq .Values.mode "inPrometheus") (eq .Values.rules.mode "ruler") -}}
{{- fail "rules.mode: the ruler lives in pronoia's own pod; use mode deployment, or rules.mode none or directory" -}}
{{- end -}}
{{- if and (eq .Values.mode "deployment") (eq .Values.rules.mode "directory") (not .Values.rules.volume) -}}
{{- fail "rules.volume: name the volume that Prometheus mounts too when rules.mode is directory" -}}
{{- end -}}
{{- if eq .Values.rules.mode "prometheusRule" -}}
{{- if and (eq .Values.mode "inPrometheus") .Values.rules.prometheusRule.createRole (not .Values.rules.prometheusRule.prometheusServiceAccount) -}}
{{- fail "rules.prometheusRule.prometheusServiceAccount: name Prometheus' service account when mode is inPrometheus" -}}
{{- end -}}
{{- if and (eq .Values.mode "deployment") .Values.rules.prometheusRule.createRole (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) -}}
{{- fail "serviceAccount.name: the namespace's default account must not get the Role; name one when serviceAccount.create is false" -}}
{{- end -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "pronoia.fullname" .)) -}}
{{- fail (printf "fullnameOverride: %q cannot be the name of a Service; use small letters, digits and -, a letter first" (include "pronoia.fullname" .)) -}}
{{- end -}}
{{- if and .Values.alerts.enabled .Values.serviceMonitor.enabled (not (contains "pronoia" (include "pronoia.fullname" .))) -}}
{{- fail (printf "alerts.enabled: the alerts look for jobs with \"pronoia\" in their names, and the ServiceMonitor's job is %q; choose another fullnameOverride" (include "pronoia.fullname" .)) -}}
{{- end -}}
{{- if .Values.serviceMonitor.enabled -}}
{{- $timeout := .Values.serviceMonitor.scrapeTimeout -}}
{{- range list .Values.serviceMonitor.interval .Values.serviceMonitor.syntheticInterval -}}
{{- if gt (include "pronoia.seconds" $timeout | float64) (include "pronoia.seconds" . | float64) -}}
{{- fail (printf "serviceMonitor.scrapeTimeout: %s is longer than the interval of %s, so Prometheus would scrape nothing" $timeout .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts: name the hosts that lead to pronoia when ingress.enabled is true" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs: name the Gateway that leads to pronoia when httpRoute.enabled is true" -}}
{{- end -}}
{{- if and .Values.rbac.create (not .Values.rbac.rules) -}}
{{- fail "rbac.rules: name what the Role allows when rbac.create is true" -}}
{{- end -}}
{{- end -}}
